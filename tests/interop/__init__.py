"""Python's clients, and generated ones in other languages, hold one list of cases against a real server."""
