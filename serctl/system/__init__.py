"""A trained system in memory: encoders, networks and stacker that predict new audio."""
