"""Alerts and dashboards name metrics that there are, and find their sources."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Histogram

from crewstream import meters
from crewstream.adapters.prometheus import BUCKETS_S, Metrics
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


BOARDS = ("operations", "trends")


def dashboard(name: str = "operations") -> dict[str, Any]:
    path = DEPLOY / "grafana" / "dashboards" / f"{name}.json"
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


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(name: str) -> None:
    panels = dashboard(name)["panels"]
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


def test_grafana_finds_its_sources_and_its_dashboards() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    files = [yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("datasources/*.yml")]
    sources = {(each["type"], each["uid"]) for file in files for each in file["datasources"]}
    assert {path.stem for path in (DEPLOY / "grafana" / "dashboards").iterdir()} == set(BOARDS)
    for name in BOARDS:
        used = [panel["datasource"] for panel in dashboard(name)["panels"]]
        assert {(each["type"], each["uid"]) for each in used} <= sources
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


@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml", "slo.yml"],
        ["test", "rules", "alerts.test.yml", "slo.test.yml"],
    ],
)
def test_promtool_agrees(command: list[str]) -> None:
    """Each alert fires when it should, and not when it should not."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    done = subprocess.run(
        [promtool, *command],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    files = (DEPLOY / "prometheus").glob("*.test.yml")
    fired = {
        each["alertname"]
        for file in files
        for test in yaml.safe_load(file.read_text("utf-8"))["tests"]
        for each in test["alert_rule_test"]
        if each.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in rules()}


def test_every_alert_is_told_in_the_docs() -> None:
    docs = (ROOT / "docs" / "operations.md").read_text("utf-8")
    told = re.findall(r"^\| `(Crewstream\w+)` \| (\w+) \|", docs, re.MULTILINE)
    assert set(told) == {(rule["alert"], rule["labels"]["severity"]) for rule in rules()}


# Labels whose values come from files of ours or from enumerations, never from requests. Names of
# tools come from crews, and a process tells so many apart, no more.
BOUNDED = {"project", "status", "topic", "direction", "result", "tool"}
BOUNDED |= {"rule", "severity", "slo", "window"}
BASE_UNITS = (
    *("_seconds", "_bytes", "_usd", "_tokens", "_records", "_jobs", "_ready", "_ratio", "_rate"),
    *("_recommendations", "_runners", "_slots", "_slots_busy"),
)
COUNTED = ("_workflows", "_tasks", "_tokens", "_letters", "_written", "_usd", "_calls")


def test_metrics_are_named_as_prometheus_wants_them() -> None:
    """https://prometheus.io/docs/practices/naming/: base units, and _total for what only grows."""
    for counter in meters.COUNTERS:
        assert counter.startswith("crewstream_")
        assert counter.removesuffix("_total").endswith(COUNTED)
        assert counter.endswith("_total")
    for name in (*meters.HISTOGRAMS, *meters.GAUGES):
        assert name.startswith("crewstream_")
        assert name.endswith(BASE_UNITS)
        assert not name.endswith("_total")


def test_no_label_of_a_metric_comes_from_a_request() -> None:
    used = {label for metric in METRICS.values() for label in metric.labels}
    assert used <= BOUNDED


def test_every_histogram_has_buckets_of_its_own() -> None:
    lines = Metrics().render()[0].decode().splitlines()
    assert list(BUCKETS_S) != list(Histogram.DEFAULT_BUCKETS)
    for name in meters.HISTOGRAMS:
        described = [line for line in lines if line.startswith(f"# TYPE {name} ")]
        assert described == [f"# TYPE {name} histogram"]
    bounds = re.findall(r'crewstream_insert_seconds_bucket\{le="([^"]+)"\}', "\n".join(lines))
    assert [float(bound) for bound in bounds] == [*BUCKETS_S, float("inf")]


def test_grafana_reads_clickhouse_as_a_user_that_can_only_read() -> None:
    path = DEPLOY / "grafana" / "provisioning" / "datasources" / "clickhouse.yml"
    (source,) = yaml.safe_load(path.read_text("utf-8"))["datasources"]
    config = yaml.safe_load((DEPLOY / "clickhouse" / "reader.yaml").read_text("utf-8"))
    reader = config["users"][source["jsonData"]["username"]]
    allowed = re.compile(r"GRANT SELECT(, SHOW)? ON (crewstream\.\*|system\.\w+)")
    assert all(allowed.fullmatch(grant) for grant in reader["grants"]["query"])
    assert config["profiles"][reader["profile"]]["readonly"] == 2
    variable = reader["password"]["@from_env"]
    assert source["secureJsonData"]["password"] == f"${variable}"
    assert f"{variable}=" in (DEPLOY / "secrets" / "reader.env").read_text("utf-8")
