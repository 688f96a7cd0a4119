"""Products beside those of the legacy pipeline."""
