"""The command line: one file a group of verbs. Heavy imports wait for the verb that needs them."""
