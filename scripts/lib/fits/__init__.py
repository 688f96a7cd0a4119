"""FITS as bytes: cards, headers, tables and sums; pixels are moved without being decoded."""
