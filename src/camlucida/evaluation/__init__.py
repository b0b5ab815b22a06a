"""Metrics over many pictures: which method and layer can be trusted for a model."""
