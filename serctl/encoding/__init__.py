"""Encode audio or transcripts in batches to frames."""
