"""What is entered around every call, on every edge."""
