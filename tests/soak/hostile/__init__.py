"""A server among attackers, on a machine where everything goes wrong; and what its clients may still rely on."""
