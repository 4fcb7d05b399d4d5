"""From the logits of many models to one decision; no torch."""
