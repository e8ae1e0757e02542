"""Integrations with web frameworks and LangChain. Each module needs its framework, installed by the extra of its name.

:mod:`.aiohttp`, :mod:`.fastapi` and :mod:`.flask` give each visitor of a site a session, and stream answers to browsers
as server-sent events. :mod:`.langchain` is a chat model for LangChain. :mod:`mcp_client` itself imports none of them.
"""
