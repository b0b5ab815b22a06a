"""What is explained."""
