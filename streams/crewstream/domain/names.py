"""How long names, ids and durations may be, and of which characters ids are."""

from __future__ import annotations

import re

# An id stands in keys joined by slashes, in file names and in command lines.
WORKFLOW_ID = re.compile(r"[^\s/\x00-\x1f\x7f]{1,200}")
TASK_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
MOST_NAME = 200
MOST_S = 366 * 24 * 3600.0
