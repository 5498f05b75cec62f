"""Readable markdown: tables, bullet lists, and numbers as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal


def money(amount: Decimal, currency: str = "USD") -> str:
    """Return e.g. `USD 1,234.50`."""
    return f"{currency} {amount:,.2f}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 as a percentage, e.g. `12.3 %`."""
    return f"{share * 100:.{digits}f} %"


def change(ratio: float | None) -> str:
    """Return a relative change with its sign, or a dash when there is nothing to compare with."""
    return "–" if ratio is None else f"{ratio * 100:+.1f} %"  # noqa: RUF001  (a typographic dash)


def table(columns: Mapping[str, Sequence[str]]) -> str:
    """Return a markdown table from columns by heading; all columns have the same length."""
    rows = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)


def bullets(lines: Iterable[str]) -> str:
    """Return a bullet list."""
    return "\n".join(f"- {line}" for line in lines)


def document(title: str, *sections: tuple[str, str]) -> str:
    """Return a title and the sections (heading, body) that have a body; no heading, no line."""
    parts = [f"# {title}"]
    for heading, body in sections:
        if body:
            parts.append(f"## {heading}\n\n{body}" if heading else body)
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
