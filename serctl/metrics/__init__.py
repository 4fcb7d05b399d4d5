"""Numbers from predictions: classification metrics, resampling, tests."""
