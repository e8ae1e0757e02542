"""The logic of the clients, without I/O: the asynchronous and the blocking client share it."""
