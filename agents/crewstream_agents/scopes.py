"""Where the memory of a tenant lies."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import quote

MEMORY_SETTING: Final = "CREWSTREAM_MEMORY_DIR"
"""The folder of all memories, as runners read it."""


def memory_place(root: str, tenant_id: str, project_id: str) -> str:
    """The folder of a tenant's memory in a project; names cannot lead out of `root`."""
    # Dots too: quote leaves them, and a tenant may be called "..".
    parts = [quote(name, safe="").replace(".", "%2E") for name in (tenant_id, project_id)]
    return os.path.join(root, *parts)  # noqa: PTH118 - CrewAI and the kernel want a string
