"""Frozen pretrained networks: waveform or text in, frames (T, D) out."""
