"""The computations of CoreLDove's agents; one tool a file."""
