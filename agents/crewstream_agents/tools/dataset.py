"""Reads the small CSV data sets that projects ship."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType

Row = Mapping[str, str]


@cache
def rows(package: str, name: str) -> tuple[Row, ...]:
    """Return the rows of `data/<name>` in a project's package, read once; values are text."""
    text = files(package).joinpath("data", name).read_text(encoding="utf-8")
    return tuple(MappingProxyType(row) for row in csv.DictReader(io.StringIO(text)))


def to_csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Return CSV text with line feeds, the same bytes on every system."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return buffer.getvalue()
