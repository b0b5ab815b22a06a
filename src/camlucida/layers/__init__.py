"""Which layer to explain, and in which layout to read its output."""
