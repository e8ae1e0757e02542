"""Conversations in web applications and in LangChain: each module is for one framework, and needs it installed.

:mod:`.aiohttp`, :mod:`.fastapi` and :mod:`.flask` give each visitor of a site a session, and stream answers to browsers
as server-sent events. :mod:`.langchain` is a chat model for LangChain. :mod:`mcp_client` itself imports none of them.
"""
