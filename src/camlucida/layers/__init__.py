"""Which layer to look at, and what the numbers it returns mean."""
