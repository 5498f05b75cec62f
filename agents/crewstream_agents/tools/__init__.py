"""What the tools of several projects share: one base, statistics, quarters, money, markdown."""
