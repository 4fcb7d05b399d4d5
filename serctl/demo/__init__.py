"""The synthetic demo corpus, spoken by espeak-ng."""
