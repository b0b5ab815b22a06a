"""What maps are worth, as pytorch-grad-cam measures it; ``camlucida metrics`` has more and other ones."""
