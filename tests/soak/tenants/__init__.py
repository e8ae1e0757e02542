"""Three tenants on one server, whose books are compared with those of the provider."""
