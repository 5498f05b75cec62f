"""The drill: a scratch installation under load, faults by a seed, and counts of what came of it."""
