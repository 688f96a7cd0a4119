"""Nights: when they begin and end, and the tables of their frames."""
