"""Random and malformed requests to every RPC, for the tests and for the soak."""
