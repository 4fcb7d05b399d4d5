"""Evaluation of predictions: metrics, baselines, paired tests and reports."""
