"""Stages of the pipeline: one module, one function and one result each."""
