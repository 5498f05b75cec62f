"""What runs only when it is asked for."""

from __future__ import annotations

import os

import pytest

SLOW = pytest.mark.skipif(
    "CREWSTREAM_SLOW" not in os.environ, reason="takes long; set CREWSTREAM_SLOW to run it"
)
