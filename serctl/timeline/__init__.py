"""Emotion over time: windows of a recording, the course of their probabilities, segments, files."""
