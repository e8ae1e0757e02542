"""Runs the contract suites against an installed plug-in: ``mcp-server plugins check NAME``.

The plug-in is loaded in a process of its own (``python -m mcp_server.testing.checks``), which reports each test as a
line of JSON: one that hangs or ends the process does so there.
"""
