"""Trained systems in memory: encoders, networks and stacker predict new audio."""
