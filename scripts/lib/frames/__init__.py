"""Raw frames: what they say of themselves, whose they are, what they are called."""
