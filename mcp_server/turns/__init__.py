"""Turns: one request to a model and its answer, from the claim to the commit."""
