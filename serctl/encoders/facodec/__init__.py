"""FACodec, the codec of NaturalSpeech 3, up to its prosody and timbre representations."""
