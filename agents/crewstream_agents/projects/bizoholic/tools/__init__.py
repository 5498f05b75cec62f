"""The computations of Bizoholic's agents; one tool a file."""
