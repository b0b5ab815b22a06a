"""Pictures in, Explanations out."""
