"""Tasks of one crew that run at the same time."""
