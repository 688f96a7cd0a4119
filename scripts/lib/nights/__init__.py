"""Nights: when they begin and end, and times."""
