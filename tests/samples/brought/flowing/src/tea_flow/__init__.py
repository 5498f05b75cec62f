"""A flow in the layout of `crewai create flow`."""
