"""A crew in the layout of `crewai create crew --classic`."""
