"""The HTTP edge: ASGI alone. It runs calls through the same middleware, limits and use cases as gRPC."""
