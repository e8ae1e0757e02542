"""What providers of local models share."""
