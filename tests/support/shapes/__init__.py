"""Crews of many shapes, to be run by two executors and compared."""
