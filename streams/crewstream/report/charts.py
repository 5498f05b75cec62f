"""Charts as SVG, in colours that the page decides. Sole importer of matplotlib."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from typing import Any

from crewstream.errors import Misconfigured

Lines = Mapping[str, Sequence[float]]
"""Values by the name of their line or part, one each for every moment."""

SERIES = 6
"""Colours that the page has; more parts than these become one."""

_SIZE = (6.4, 2.5)  # inches: the shape of it; the page decides the size
_INK, _GRID = "#0a0b0c", "#0d0e0f"
# Colours that no chart would choose stand for those of the page, which has light and dark ones.
_COLOURS = {_INK: "--muted", _GRID: "--line"} | {
    f"#0102{number:02x}": f"--series-{number}" for number in range(1, SERIES + 1)
}
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: it can be read, found and copied
    "font.size": 9,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}

_PLACE: Mapping[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}


def require() -> None:
    """Raise Misconfigured when the extra `report` is not installed."""
    if find_spec("matplotlib") is None:
        raise Misconfigured("a report needs matplotlib: pip install 'crewstream[report]'")


def bars(title: str, at: Sequence[datetime], parts: Lines, *, step_s: int, unit: str = "") -> str:
    """Columns over time, each of its parts on top of the one before."""

    def draw(axes: Any) -> None:
        below = [0.0] * len(at)
        width = step_s / 86_400 * 0.8
        for colour, (name, values) in zip(_palette(parts), parts.items(), strict=True):
            axes.bar(at, values, width, bottom=below, label=_label(name), color=colour, linewidth=0)
            below = [low + value for low, value in zip(below, values, strict=True)]

    return _chart(title, draw, unit=unit, legend=len(parts) > 1)


def lines(title: str, at: Sequence[datetime], parts: Lines, *, unit: str = "") -> str:
    """Lines over time; NaN leaves a gap."""

    def draw(axes: Any) -> None:
        for colour, (name, values) in zip(_palette(parts, 4), parts.items(), strict=True):
            axes.plot(
                at, values, label=_label(name), color=colour, linewidth=2, marker="o", markersize=3
            )
        axes.set_ylim(bottom=0)

    return _chart(title, draw, unit=unit, legend=len(parts) > 1)


def _palette(parts: Lines, step: int = 1) -> list[str]:
    return [f"#0102{1 + number * step % SERIES:02x}" for number in range(len(parts))]


def _label(name: str) -> str:
    """A name that matplotlib shows as it is: no formula in $, and not hidden by a leading _."""
    escaped = name.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{escaped}" if escaped.startswith("_") else escaped


def _chart(title: str, draw: Any, *, unit: str, legend: bool) -> str:
    from matplotlib import rc_context, ticker  # noqa: PLC0415  (an extra, and slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415  (the same)

    dates: Any = import_module("matplotlib.dates")  # has no types

    # The salt keeps the ids of one chart apart from those of the next on the page.
    with rc_context({**_SETTINGS, "svg.hashsalt": title}):
        figure = Figure(_SIZE, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        locator = dates.AutoDateLocator(minticks=3, maxticks=8)
        # Of years, months, days, hours, minutes, seconds; midnight is told as its day.
        formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
        firsts = [*formats[:3], "%d %b", "%H:%M", "%H:%M"]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(
            dates.ConciseDateFormatter(
                locator, formats=formats, zero_formats=firsts, show_offset=False
            )
        )
        axes.yaxis.set_major_locator(ticker.MaxNLocator(4, min_n_ticks=2))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g} {unit}".strip())
        if legend:
            axes.legend(
                **_PLACE, ncols=SERIES, handlelength=0.8, handleheight=0.8, columnspacing=1.2
            )
        written = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    return _inline(written.getvalue(), title)


def _inline(document: str, title: str) -> str:
    """The `svg` of a document, as wide as its place, in the page's colours and type."""
    svg = document[document.index("<svg") :]
    size = re.compile(r' (?:width|height)="[^"]*"')
    head, rest = svg[: svg.index(">")], svg[svg.index(">") :]
    svg = f'{size.sub("", head)} role="img" aria-label="{title}"{rest}'
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for placeholder, variable in _COLOURS.items():
        svg = svg.replace(placeholder, f"var({variable})")
    return svg
