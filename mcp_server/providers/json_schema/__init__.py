"""JSON Schemas that answers are held to: which are supported, the grammar of each, and the check of the answer."""
