"""Plots in the terminal: lines along time, bars along names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from crewstream.analytics.library import Plot, queries
from crewstream.cli import plots

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_time_makes_lines_in_panels() -> None:
    rows = [
        {"hour": DAY + timedelta(hours=n), "a": n, "b": Decimal(n), "c": None if n > 3 else 1.5}
        for n in range(24)
    ]
    drawn = plots.draw(Plot(("hour",), [("a", "c"), ("b",)]), rows, "Trend")
    assert "Trend: a, c" in drawn
    assert "Trend: b" in drawn
    assert "01-01 12:00" in drawn
    assert "\x1b" not in drawn, "no colours where nobody looks"


def test_names_make_bars_the_first_on_top() -> None:
    rows = [
        {"who": name, "what": "x", "n": n} for name, n in (("ann", 3), ("bob", 1), ("cy", None))
    ]
    lines = plots.draw(Plot(("who", "what"), [("n",)]), rows, "Done").splitlines()
    bars = {line.split("┤")[0].strip(): line.count("█") for line in lines if "┤" in line}
    assert list(bars) == ["ann x", "bob x", "cy x"]
    assert bars["ann x"] > bars["bob x"] > bars["cy x"] == 0


def test_nothing_is_said_to_be_nothing() -> None:
    assert plots.draw(Plot(("h",), [("a",)]), [], "Trend") == "Trend: nothing to draw"


def test_lines_of_nothing_but_zeros_can_be_drawn() -> None:
    rows = [{"day": DAY.date(), "a": 0}, {"day": DAY.date(), "a": 0}]
    assert "01-01" in plots.draw(Plot(("day",), [("a",)]), rows, "T")


def test_what_a_query_draws_are_columns_of_it() -> None:
    drawn = [(query, query.plot) for query in queries().values() if query.plot]
    for query, plot in drawn:
        sql = query.sql.partition("\nSELECT")[2] or query.sql
        named = [*plot.along, *(name for panel in plot.panels for name in panel)]
        assert [name for name in named if name not in sql] == [], query.name
