"""Tokens (JWT) of issuers that the settings name."""
