"""Measurements; see the README's figures."""
