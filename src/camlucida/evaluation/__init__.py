"""Maps of many pictures, measured: which method and layer can be trusted for a model."""
