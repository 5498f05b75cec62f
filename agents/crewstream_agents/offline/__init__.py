"""The offline model: drives a crew's real tools and reports what they returned; no network."""
