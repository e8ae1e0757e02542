"""Tests of tokens (JWT)."""
