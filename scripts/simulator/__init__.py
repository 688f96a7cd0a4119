"""Simulated nights: raw frames as Astra writes them, of a sky that is known."""
