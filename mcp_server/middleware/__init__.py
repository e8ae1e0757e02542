"""Middleware that the server enters around every call, and observers of turns."""
