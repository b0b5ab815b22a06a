"""Borrow the user's module, hook it, and capture activations and gradients."""
