"""The admin port: HTTP pages for monitoring, orchestrators and operators."""
