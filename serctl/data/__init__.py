"""Data: labels, manifests, folds, audio and corpora."""
