"""Single tasks, each of its own kind."""
