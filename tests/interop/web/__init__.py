"""Clients of the HTTP edge: Connect in Node.js, Connect and gRPC-Web in a browser."""
