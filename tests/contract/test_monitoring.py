"""Alerts and the dashboard name metrics that there are, and find their sources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crewstream import meters
from crewstream.config import HTTP_PORTS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
METRICS: dict[str, meters.Metric] = dict(
    (*meters.COUNTERS.items(), *meters.HISTOGRAMS.items(), *meters.GAUGES.items())
)
CATALOGUE: dict[str, tuple[str, ...]] = {
    **{name: metric.labels for name, metric in METRICS.items() if name not in meters.HISTOGRAMS},
    **{
        name + part: (*metric.labels, *(["le"] if part == "_bucket" else []))
        for name, metric in meters.HISTOGRAMS.items()
        for part in ("_bucket", "_sum", "_count")
    },
}
# What Prometheus adds to every series of a target, by its configuration.
TARGET_LABELS = {"job", "instance", "process"}


def unknown_in(expression: str) -> Iterator[str]:
    """Metrics that meters.py has not, and labels that they have not."""
    named = re.findall(r"\b(crewstream_\w+)(?:\{([^}]*)\})?", expression)
    allowed = set(TARGET_LABELS)
    for metric, selector in named:
        if metric not in CATALOGUE:
            yield f"there is no metric {metric}"
            continue
        allowed |= set(CATALOGUE[metric])
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            if label not in {*CATALOGUE[metric], *TARGET_LABELS}:
                yield f"{metric} has no label {label}"
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        yield from (f"no label {each}" for each in re.split(r",\s*", group) if each not in allowed)


def rules() -> list[dict[str, Any]]:
    files = [
        yaml.safe_load((DEPLOY / "prometheus" / name).read_text("utf-8"))
        for name in ("alerts.yml", "slo.yml")
    ]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def services() -> dict[str, Any]:
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    found: dict[str, Any] = file["services"]
    return found


def dashboard() -> dict[str, Any]:
    path = DEPLOY / "grafana" / "dashboards" / "operations.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_alerts_are_about_metrics_that_there_are() -> None:
    assert [found for rule in rules() for found in unknown_in(rule["expr"])] == []
    assert all(rule["labels"]["severity"] in {"warning", "critical"} for rule in rules())
    assert all({"summary", "description"} <= rule["annotations"].keys() for rule in rules())


def test_the_dashboard_shows_every_metric_and_none_that_there_is_not() -> None:
    expressions = [each["expr"] for panel in dashboard()["panels"] for each in panel["targets"]]
    assert [found for each in expressions for found in unknown_in(each)] == []
    shown = " ".join(expressions)
    assert [name for name in METRICS if name not in shown] == []


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(
    "expression",
    [
        "rate(crewstream_workflow_total[5m])",
        'crewstream_workflows_total{state="failed"}',
        "sum by (crew) (crewstream_tasks_total)",
    ],
)
def test_a_metric_or_label_that_there_is_not_is_found(expression: str) -> None:
    assert list(unknown_in(expression))


def test_grafana_finds_its_source_and_its_dashboards() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text("utf-8"))
    uids = {each["uid"] for each in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in dashboard()["panels"]} <= uids
    providers = yaml.safe_load((folder / "dashboards" / "crewstream.yml").read_text("utf-8"))
    mounted = {each.split(":")[1] for each in services()["grafana"]["volumes"]}
    assert {each["options"]["path"] for each in providers["providers"]} <= mounted


def test_prometheus_asks_every_process_where_it_listens() -> None:
    file = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    (found,) = file["scrape_configs"][0]["dns_sd_configs"]
    assert sorted(found["names"]) == sorted(HTTP_PORTS)
    assert services().keys() >= HTTP_PORTS.keys()
    port = re.search(r"CREWSTREAM_HTTP_PORT=(\d+)", (ROOT / "Dockerfile").read_text("utf-8"))
    assert port is not None
    assert found["port"] == int(port[1])
    assert all((DEPLOY / "prometheus" / name).exists() for name in file["rule_files"])
