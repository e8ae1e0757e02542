"""Conversions between LangChain's values and those of a server."""
