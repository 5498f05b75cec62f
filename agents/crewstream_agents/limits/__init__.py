"""What stands between a run and the models and tools that it calls: rates, tries, rules."""
