"""The contract on any transport: protobuf in, protobuf out. One file per service.

A method converts its request (:mod:`~mcp_server.api.decode`), calls the gateway, and converts the result
(:mod:`~mcp_server.api.encode`).
"""
