"""Every query of the dashboard of trends, as Grafana's plugin would send it, and the report."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from typing_extensions import override

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.analytics.migrations import Place, migrate
from crewstream.contracts.schemas import Schemas
from crewstream.embedded.clickhouse import ClickHouseFace
from crewstream.processors.recorder import Recorder, Topics
from crewstream.report.figures import Span, collect
from crewstream.report.page import page
from support import measured
from support.measured import WORKFLOWS, fails, retries

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

BOARDS = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
TRENDS: dict[str, Any] = json.loads((BOARDS / "trends.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in TRENDS["panels"]}
NOW = datetime.now(UTC)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def face(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClickHouseFace]:
    """A week of measurements, rolled up, served as by the recorder's process."""
    folder = tmp_path_factory.mktemp("clickhouse") / "data"
    async with (
        ClickHouseFace(str(folder), port=0) as found,
        connect(f"chdb://{folder}") as inside,
    ):
        await migrate(inside, Place(inside.database))
        schemas = Schemas.load()
        topics = Topics(measured.METRICS, measured.STATE, measured.LETTERS)
        recorder = Recorder(inside, measured.CODEC, schemas, topics)
        assert await recorder.record(measured.week(NOW)) == []
        await inside.command("SYSTEM REFRESH VIEW rollup_1h_refresh")
        await inside.command("SYSTEM WAIT VIEW rollup_1h_refresh")
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def analytics(face: ClickHouseFace) -> AsyncIterator[Analytics]:
    """The same, as everybody else asks it."""
    async with connect(face.url) as found:
        yield found


def expanded(sql: str) -> str:
    """What the plugin makes of its macros and Grafana of its variables, for the last 7 days.

    Source: grafana/clickhouse-datasource, pkg/macros/macros.go.
    """
    start, end = int((NOW - timedelta(days=7)).timestamp()), int(NOW.timestamp())
    within = rf"\1 >= toDateTime({start}) AND \1 <= toDateTime({end})"
    by_hour = r"toStartOfInterval(toDateTime(\1), INTERVAL 3600 second)"
    sql = re.sub(r"\$__timeFilter\((\w+)\)", within, sql)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", by_hour, sql)
    sql = re.sub(r"\$\{\w+:regex\}", ".*", sql)
    assert "$" not in sql.replace(")$'", ""), f"nothing else is expanded here: {sql}"
    return sql


class _Outside(HTMLParser):
    """What a page would load from elsewhere, run, or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object", "embed"}:
            self.found.append(tag)
        for name, value in attrs:
            leads = name in {"src", "href", "xlink:href", "srcset", "action"}
            if leads and not (value or "").startswith("#"):
                self.found.append(f"{name}={value}")


async def test_a_report_says_what_happened_and_needs_nothing_else(analytics: Analytics) -> None:
    span = Span(NOW - timedelta(days=7), NOW)
    figures = await collect(analytics, span, 0.99)
    html = page(figures, NOW, "here")
    outside = _Outside()
    outside.feed(html)
    assert outside.found == []
    assert "url(http" not in html
    assert "@import" not in html
    assert html.count("<svg") == 4
    failed, retried = (sum(map(each, range(WORKFLOWS))) for each in (fails, retries))
    text = re.sub(r"<[^>]+>", " ", html)
    for told in (
        f"Workflows ended {WORKFLOWS} ",
        f"Succeeded {100 * (1 - failed / WORKFLOWS):.1f} %",
        f"Attempts at tasks {2 * WORKFLOWS + retried} ",
        f"Calls not paid again {retried} ",
        "Error budget spent",
        "tool.failed",
        "Market Analyst",
        "gpt-5-mini",
    ):
        assert told in " ".join(text.split())
    (now,) = figures.rows("overview")
    by_model, by_tenant, by_day = (
        sum(row[column] for row in figures.rows(name))
        for name, column in (("models", "usd"), ("tenants", "usd"), ("spending", "cost_usd"))
    )
    assert [by_model, by_tenant, by_day] == pytest.approx([now["usd"]] * 3)
    assert sum(row["succeeded"] + row["failed"] for row in figures.rows("trend")) == now["tasks"]
    longest = figures.rows("slowest")
    assert [row["duration_s"] for row in longest] == sorted(
        (row["duration_s"] for row in longest), reverse=True
    )


async def test_the_command_line_writes_the_report(face: ClickHouseFace, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crewstream", "report", "--since", "7d", "--out", str(out)),
        env={**os.environ, "CREWSTREAM_CLICKHOUSE_DSN": face.url},
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()
    assert (process.returncode, told) == (0, b"")
    assert "</html>" in out.read_text("utf-8")


async def test_a_report_compares_with_the_time_before_and_bears_an_empty_one(
    analytics: Analytics,
) -> None:
    figures = await collect(analytics, Span(NOW - timedelta(days=3), NOW), 0.95)
    now, before = figures.rows("overview")
    assert (now["current"], before["current"]) == (True, False)
    assert f"from {before['workflows']}" in page(figures, NOW, "here")
    empty = await collect(analytics, Span(NOW - timedelta(days=40), NOW - timedelta(days=39)), 0.95)
    assert "Nothing was measured in this time." in page(empty, NOW, "here")


async def rows(face: ClickHouseFace, sql: str) -> list[dict[str, Any]]:
    sent = {"default_format": "JSON", "database": "crewstream", "user": "reader"}
    sent |= {"limit": "1000000", "output_format_json_quote_64bit_integers": "0"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(face.url, params=sent, data=sql) as answer,
    ):
        body = await answer.text()
        assert answer.status == 200, f"{sql}\n{body}"
        found: list[dict[str, Any]] = json.loads(body)["data"]
        return found


@pytest.mark.parametrize("title", PANELS)
async def test_every_panel_of_the_trends_shows_something(face: ClickHouseFace, title: str) -> None:
    panel = PANELS[title]
    for target in panel["targets"]:
        found = await rows(face, expanded(target["rawSql"]))
        assert found
        assert any(value not in (None, 0, "") for row in found for value in row.values())
        if panel["type"] == "timeseries":
            assert next(iter(found[0])) == "time", "the plugin takes the first time as the axis"
            assert found == sorted(found, key=lambda row: row["time"])


async def test_the_figures_of_the_trends_are_right(face: ClickHouseFace) -> None:
    async def value(title: str) -> Any:
        (row,) = await rows(face, expanded(PANELS[title]["targets"][0]["rawSql"]))
        (found,) = row.values()
        return found

    failed, retried = (sum(map(each, range(WORKFLOWS))) for each in (fails, retries))
    assert await value("Workflows ended") == WORKFLOWS
    share = await value("Workflows that succeeded")
    assert share == pytest.approx(1 - failed / WORKFLOWS)
    first_try = await value("Tasks done at the first try")
    assert first_try == pytest.approx(1 - (failed + retried) / (2 * WORKFLOWS))
    assert await value("Model calls replayed, not paid again") == retried
    assert await value("Cost") == pytest.approx(await _cost(face))


async def _cost(face: ClickHouseFace) -> float:
    sql = "SELECT toFloat64(sumIf(cost_usd, NOT replayed)) AS usd FROM v_events"
    return float((await rows(face, sql))[0]["usd"])


@pytest.mark.parametrize("variable", TRENDS["templating"]["list"], ids=lambda each: each["name"])
async def test_the_variables_of_the_trends_have_values(
    face: ClickHouseFace, variable: dict[str, Any]
) -> None:
    assert len(await rows(face, variable["query"])) > 2
    assert variable["allValue"] == ".*"
