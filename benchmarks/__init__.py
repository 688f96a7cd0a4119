"""Measurements; see docs/speed.md."""
