"""Frozen pretrained networks that encode waveforms or transcripts to frames (T, D)."""
