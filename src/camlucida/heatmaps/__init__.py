"""Maps, whatever made them."""
