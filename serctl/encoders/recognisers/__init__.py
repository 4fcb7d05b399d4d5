"""Transcripts from Whisper's encoded windows, with two back-ends and rules for suspects."""
