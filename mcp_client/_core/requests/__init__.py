"""Encodes arguments to requests."""
