"""The drill's tools."""
