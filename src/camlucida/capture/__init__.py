"""The only room that runs the user's module."""
