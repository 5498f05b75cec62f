"""How a process says whether it does its work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a process does its work, and if not, why not."""

    ready: bool
    problems: list[str]
