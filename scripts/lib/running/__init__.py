"""What keeps runs going: configuration, plan, locks, limits, logs, how a telescope stands."""
