"""Puts the sample project where a project of a user would be: on the import path, as installed."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "samples"))

with warnings.catch_warnings():
    # CrewAI's own import warns; in our code a warning is an error, here it is not ours.
    warnings.simplefilter("ignore")
    import crewai  # noqa: F401
