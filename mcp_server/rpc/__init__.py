"""The gRPC edge, grpc.aio alone: the server, what surrounds each call, health and reflection."""
