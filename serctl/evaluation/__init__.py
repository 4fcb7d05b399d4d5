"""Numbers in, numbers out: metrics, resampling, reports."""
