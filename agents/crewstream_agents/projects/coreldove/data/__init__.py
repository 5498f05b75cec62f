"""CoreLDove's data sets, and the seeded generator that makes them."""
