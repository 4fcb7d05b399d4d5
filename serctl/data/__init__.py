"""What is on disk and what it means: labels, manifests, folds, audio, corpora."""
