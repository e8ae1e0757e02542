"""Clients in other languages, made of nothing but generated code, hold one list of cases against a real server."""
