"""Limits and usage, through the front door."""
