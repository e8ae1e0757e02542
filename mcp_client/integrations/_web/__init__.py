"""The chat of a web application, whatever its framework: requests, responses, server-sent events, cookies."""
