"""Emotion over time: windows of a recording, probabilities of each step, segments and files."""
