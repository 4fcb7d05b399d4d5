"""The synthetic corpus: sentences that espeak-ng speaks."""
