"""From Whisper's encoded windows to words: one rule for doubt, two back-ends."""
