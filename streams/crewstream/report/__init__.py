"""The report: one page about a span of time, made from ClickHouse, readable without a network."""
