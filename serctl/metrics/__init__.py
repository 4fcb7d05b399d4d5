"""Classification metrics, resampling and significance tests."""
