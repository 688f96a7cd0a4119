"""Planning, locks, limits, status of a telescope."""
