"""The gRPC edge: the contract of ``protos/`` in front of the gateway."""
