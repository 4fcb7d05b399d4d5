"""Audio or words, in batches, through an encoder, to frames."""
