"""The laboratory: an experiment as one grid, every step kept; and what is made of its stored scores."""
