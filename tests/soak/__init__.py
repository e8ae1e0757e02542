"""Random faults for minutes, and a look at what is left of them."""
