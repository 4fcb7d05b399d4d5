"""Combine the logits of several models. No module imports torch."""
