"""Decodes responses to values."""
