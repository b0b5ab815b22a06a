"""Reduce, combine, scale and examine maps, and lay them on pictures."""
