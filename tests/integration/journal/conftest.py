"""Imports CrewAI quietly, before the tests do."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # CrewAI's own import warns; in our code a warning is an error, here it is not ours.
    warnings.simplefilter("ignore")
    import crewai  # noqa: F401
