"""A telescope's configuration: its records, its check against the schema, profile, passwords."""
