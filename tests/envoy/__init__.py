"""A real proxy in between."""
