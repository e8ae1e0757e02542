"""Sessions: conversations with memory, and the leases of the turns that run on them."""
