"""What is to be done, locks, limits, how a telescope stands."""
