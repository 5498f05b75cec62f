"""Rows of a query as plots in the terminal. Sole importer of plotext."""

from __future__ import annotations

import sys
from datetime import date, datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream.analytics.library import Plot

MOST_BARS = 25
PANEL_LINES = 16
TICKS = 6


def draw(plot: Plot, rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """The panels of a plot, one below the other; lines along a time, bars along names.

    What is not known (None) is left out. Colours only where somebody looks.
    """
    if not rows:
        return f"{title}: nothing to draw"
    in_time = isinstance(rows[0][plot.along[0]], date) and len(plot.along) == 1
    paint = _lines if in_time else _bars
    return "\n".join(paint(plot.along, panel, rows, title) for panel in plot.panels)


def _lines(
    along: Sequence[str], panel: Sequence[str], rows: Sequence[Mapping[str, Any]], title: str
) -> str:
    import plotext  # noqa: PLC0415 - only for who wants to look

    _begin(plotext, f"{title}: {', '.join(panel)}", PANEL_LINES)
    for name in panel:
        known = [(x, float(row[name])) for x, row in enumerate(rows) if row[name] is not None]
        if known:
            plotext.plot(*map(list, zip(*known, strict=True)), label=name, marker="braille")
    values = [float(row[name]) for row in rows for name in panel if row[name] is not None]
    # From nothing on: a line that fills its panel makes a small change look large.
    plotext.ylim(min([0.0, *values]), max([0.0, *values]) * 1.05 or 1.0)
    step = max(1, len(rows) // TICKS)
    places = list(range(0, len(rows), step))
    plotext.xticks(places, [_time(rows[place][along[0]]) for place in places])
    return _finished(plotext)


def _bars(
    along: Sequence[str], panel: Sequence[str], rows: Sequence[Mapping[str, Any]], title: str
) -> str:
    return "\n".join(_bar(along, name, rows[:MOST_BARS], title) for name in panel)


def _bar(along: Sequence[str], name: str, rows: Sequence[Mapping[str, Any]], title: str) -> str:
    import plotext  # noqa: PLC0415 - as above

    # The first row on top: plotext counts from the bottom.
    labels = [" ".join(str(row[each]) or "-" for each in along) for row in rows][::-1]
    values = [float(row[name] or 0) for row in rows][::-1]
    _begin(plotext, f"{title}: {name}", len(rows) + 4)
    plotext.bar(labels, values, orientation="h", width=0.4)
    return _finished(plotext)


def _begin(plotext: Any, title: str, lines: int) -> None:
    plotext.clear_figure()
    plotext.theme("clear" if not sys.stdout.isatty() else "pro")
    plotext.plotsize(min(get_terminal_size((100, 0)).columns, 160), lines)
    plotext.title(title)


def _finished(plotext: Any) -> str:
    text: str = plotext.build()
    return text if sys.stdout.isatty() else plotext.uncolorize(text)


def _time(value: date) -> str:
    return f"{value:%m-%d %H:%M}" if isinstance(value, datetime) else f"{value:%m-%d}"
