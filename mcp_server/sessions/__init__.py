"""Sessions: conversations with memory, and who may write one now."""
