"""A report of figures made by hand: what is shown, and that names are text and never markup."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import nan

import pytest

from crewstream.adapters.clickhouse import Result
from crewstream.report import charts, show
from crewstream.report.figures import ADVICE, Figures, Span
from crewstream.report.page import page

NOW = datetime(2026, 3, 4, tzinfo=UTC)
SPAN = Span(NOW - timedelta(days=7), NOW)
HOSTILE = "<script>alert('x')</script>"


def figures(**answers: Result) -> Figures:
    return Figures(SPAN, 0.99, answers)


def test_names_from_events_are_text() -> None:
    errors = ("error_type", "operation", "project", "times", "workflows", "last")
    tenants = ("tenant", "project", "workflows", "succeeded", "usd", "usd_per_workflow")
    spending = [(NOW - timedelta(days=2), HOSTILE, 1.0), (NOW - timedelta(days=1), "b", 2.0)]
    html = page(
        figures(
            errors=Result(errors, [(HOSTILE, HOSTILE, HOSTILE, 1, 1, NOW)]),
            tenants=Result(tenants, [(HOSTILE, HOSTILE, 1, None, 0.0, None)]),
            spending=Result(("at", "project", "cost_usd"), spending),
            trend=Result(
                ("at", "succeeded", "failed", "p50_s", "p95_s", "queue_p95_s"),
                [(NOW - timedelta(days=1), 3, 1, 1.0, nan, None)],
            ),
        ),
        NOW,
        HOSTILE,
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_what_there_is_nothing_of_is_left_out_or_said() -> None:
    html = page(figures(), NOW, "here")
    assert "Nothing was measured in this time." in html
    assert "Nothing failed." in html
    assert "Recommendations" not in html


def test_the_installations_own_objectives_are_shown() -> None:
    service = ("project", "workflows", "succeeded", "objective", "budget_spent")
    slo = ("name", "objective", "attained", "budget_left", "state")
    html = page(
        figures(
            service=Result(service, [("p", 10, 0.9, 0.99, 10.0)]),
            slo=Result(slo, [("fast", 0.95, None, -0.5, "exhausted")]),
        ),
        NOW,
        "here",
    )
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "p 10 90.0 % 99.0 % 1,000 %" in text
    assert f"fast 95.0 % {show.NOTHING} -50.0 % exhausted" in text


@pytest.mark.parametrize(
    ("columns", "heads"),
    [
        (("evidence", "project_id", "action"), ["Project", "Action"]),
        (("advice_text", "since", "why"), ["Advice text", "Since", "Why"]),
    ],
)
def test_advice_is_shown_whatever_its_columns_are(
    columns: tuple[str, ...], heads: list[str]
) -> None:
    advice = Result(columns, [("e", "p", "add a worker")])
    html = page(figures(**{ADVICE: advice}), NOW, "here")
    shown = html.partition('id="recommendations"')[2].partition("</section>")[0]
    assert re.findall(r"<th>([^<]+)</th>", shown) == heads
    assert "<td>add a worker</td>" in shown


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (show.number(0), "0"),
        (show.number(9_999), "9,999"),
        (show.number(12_345), "12.3k"),
        (show.number(4_500_000), "4.5M"),
        (show.number(7e9), "7.0B"),
        (show.share(1), "100.0 %"),
        (show.share(0.99999), "99.9 %"),
        (show.seconds(0.0123), "12 ms"),
        (show.seconds(90), "90.0 s"),
        (show.seconds(600), "10.0 min"),
        (show.seconds(9000), "2.5 h"),
        (show.usd(0), "$0.00"),
        (show.usd(0.00213), "$0.0021"),
        (show.usd(1234.5), "$1,234.50"),
    ],
)
def test_values_are_shown_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize("nothing", [None, nan, ""])
def test_what_there_is_none_of_is_a_dash(nothing: object) -> None:
    assert show.shown(nothing, show.usd) == show.NOTHING


def test_a_chart_takes_its_colours_from_the_page_and_is_the_same_each_time() -> None:
    at = [NOW + timedelta(hours=hour) for hour in range(4)]
    parts = {"a": [1.0, 2, 3, 4], "b": [1.0, 1, nan, 1]}
    first, again = (charts.bars("Some chart", at, parts, step_s=3600) for _ in range(2))
    assert first == again
    assert 'role="img" aria-label="Some chart"' in first
    for variable in ("--series-1", "--series-2", "--muted", "--line"):
        assert f"var({variable})" in first
    assert "#0102" not in first
    assert 'width="' not in first.split(">")[0]


def test_any_name_stands_in_the_legend_as_it_is() -> None:
    names = ("_hidden", "$x_", "50 %", "<b>")
    svg = charts.lines("Odd names", [NOW], {name: [1.0] for name in names})
    for name in ("_hidden<", "$x_<", "50 %<", "&lt;b&gt;<"):
        assert name in svg


def test_projects_beyond_the_palette_become_one() -> None:
    names = [f"project-{number}" for number in range(9)]
    rows = [(NOW, name, 10.0 - number) for number, name in enumerate(names)]
    trend = ("at", "succeeded", "failed", "p50_s", "p95_s", "queue_p95_s")
    html = page(
        figures(
            spending=Result(("at", "project", "cost_usd"), rows),
            trend=Result(trend, [(NOW, 1, 0, 1.0, 1.0, 1.0)]),
        ),
        NOW,
        "here",
    )
    assert "project-4<" in html
    assert "project-5<" not in html
    assert "others<" in html
