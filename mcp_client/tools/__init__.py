"""Python functions as tools: how they are described to a model, and how a model's calls run them."""
