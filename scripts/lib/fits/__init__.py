"""FITS as bytes: cards, headers, tables, sums, and pixels that are moved without being decoded."""
