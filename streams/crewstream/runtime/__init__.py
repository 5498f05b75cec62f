"""Faust, and what makes it safe; the sole importer of faust and mode."""

import os

# Faust reads this when it is imported: its Cython streams write acknowledgements straight into
# the consumer's lists, past `Consumer.ack`, so they must be off before any module of ours loads it.
os.environ.setdefault("NO_CYTHON", "1")
