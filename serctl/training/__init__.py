"""Dataset, batches, loop and checkpoints of one training."""
