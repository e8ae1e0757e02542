"""What providers share that ask a server over HTTP: connections, keys, server-sent events, failures."""
