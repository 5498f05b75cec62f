"""The tables of the documents are in step with the code that they are about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from crewstream import meters
from crewstream.contracts import envelope, limits
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.errors import Undecodable
from crewstream.runtime import leave
from crewstream_agents import project

ROOT = Path(__file__).parents[2]
STREAMS = ROOT / "streams" / "crewstream"
CODE = re.compile(
    r"(after|approval|budget|crew|guardrail|human|inputs|limit|llm|model|output|run|runner|task|tool|workflow)\.[a-z_]+"
)

Rows = Iterable[Iterable[str]]


def section(name: str, marker: str) -> str:
    """What stands between `<!-- marker -->` and `<!-- /marker -->`."""
    found = re.search(
        rf"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", (ROOT / name).read_text("utf-8"), re.DOTALL
    )
    assert found, f"{name} has no part {marker}"
    return found[1]


def table(head: Iterable[str], rows: Rows) -> str:
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def first_column(name: str, marker: str) -> set[str]:
    return set(re.findall(r"^\| `?([\w.-]+)`? \|", section(name, marker), re.MULTILINE)[1:])


def kept(config: Mapping[str, str]) -> str:
    if config["cleanup.policy"] == "compact":
        return "the last of each key"
    days = int(config["retention.ms"]) // 86_400_000
    return "1 day" if days == 1 else f"{days} days"


def largest(config: Mapping[str, str]) -> str:
    # Kafka's own limit is a little above one MiB.
    return f"{int(config.get('max.message.bytes', 1_048_588)) // 1_048_576} MiB"


def topics_table() -> str:
    rows = [
        (
            f"`{each.name}`",
            each.key,
            f"[{each.record}](../schemas/avro/{each.record}.avsc)" if each.record else "any bytes",
            str(topic.partitions),
            largest(topic.config),
            kept(topic.config),
            each.about,
        )
        for each in Topics.load().templates
        for topic in [next(t for t in Topics.load().all() if t.template == each.name)]
    ]
    return table(("topic", "key", "record", "partitions", "largest record", "kept", "about"), rows)


def schemas_table() -> str:
    schemas = Schemas.load()
    # In the order of their first ids, so that a new version leaves a record where it is.
    records = dict.fromkeys(schemas.by_id[known].record for known in sorted(schemas.by_id))
    rows = [
        (
            f"[{name}](../schemas/avro/{name}.avsc)",
            str(schemas.id_of(name)),
            str(schemas.current[name]["doc"]),
        )
        for name in records
    ]
    return table(("record", "id", "about"), rows)


def metrics_table() -> str:
    kinds = (
        ("counter", meters.COUNTERS.items()),
        ("histogram", meters.HISTOGRAMS.items()),
        ("gauge", meters.GAUGES.items()),
    )
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in each.labels), each.about)
        for kind, items in kinds
        for name, each in items
    ]
    return table(("metric", "kind", "labels", "means"), rows)


def test_the_table_of_topics_is_topics_yaml() -> None:
    assert section("docs/contracts.md", "topics") == topics_table()


def test_the_table_of_schemas_is_the_lock() -> None:
    assert section("docs/contracts.md", "schemas") == schemas_table()


def test_the_table_of_metrics_is_the_catalogue() -> None:
    assert section("docs/operations.md", "metrics") == metrics_table()


def test_the_table_of_headers_is_what_is_sent() -> None:
    sent = envelope.headers_for(
        "WorkflowFinished",
        id="i",
        source="s",
        subject="w",
        time=datetime.now(UTC),
        tenant_id="t",
        correlation_id="w",
        causation_id="c",
        traceparent="p",
        dataschema="d",
    )
    assert first_column("docs/contracts.md", "headers") == {name for name, _ in sent}


def test_the_table_of_dead_letters_is_what_is_sent() -> None:
    where = {"topic": "t", "partition": 0, "offset": 0, "timestamp_ms": 0, "schema_id": None}
    sent = envelope.dead_letter([], Undecodable(), failed_at=datetime.now(UTC), **where)  # type: ignore[arg-type]  # one value of each type
    assert first_column("docs/contracts.md", "dead-letters") == {name for name, _ in sent}


def strings(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def faults_in(path: Path) -> set[str]:
    """Codes that a module makes faults of: `Fault(code=…)`."""
    return {
        keyword.value.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code"
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
    }


def test_the_table_of_faults_is_what_requests_are_rejected_for() -> None:
    modules = [STREAMS / "processors/coordinator/workflows.py", *(STREAMS / "domain").glob("*.py")]
    wanted = {code for module in modules for code in faults_in(module)}
    # More are put together of scope and kind, or come with their place.
    wanted |= {"workflow.unknown_project", "task.invalid_id", "task.duplicate_id"}
    wanted |= {f"task.unknown_{kind}" for kind in ("crew", "type", "dependency")}
    assert first_column("docs/contracts.md", "faults") == wanted


def test_the_table_of_failures_is_what_the_code_can_say() -> None:
    agents = ROOT / "agents" / "crewstream_agents"
    files = [each for part in ("", "journal", "limits") for each in (agents / part).glob("*.py")]
    files += [STREAMS / "processors/worker.py", STREAMS / "processors/coordinator/workflows.py"]
    files += [each for each in (STREAMS / "domain").glob("*.py") if each.name != "plan.py"]
    said = {
        each for file in files for each in strings(file) - faults_in(file) if CODE.fullmatch(each)
    }
    # Not a failure: an attribute of a measurement, and files that CrewAI makes crews of.
    other = {"workflow.status", "crew.json", "crew.jsonc"}
    assert first_column("docs/contracts.md", "failures") == said - other


def test_the_table_of_limits_is_what_limits_yaml_may_say() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8").split("\n## Limits\n")[1]
    table_of_limits = text.partition("\n### ")[0]
    told = set(re.findall(r"^\| `(\w+)[`.]", table_of_limits, re.MULTILINE))
    fields = (*limits.TenantLimits.model_fields, *limits.ProjectLimits.model_fields)
    assert told == {*fields, "prices", "when_tool_refused"}


def test_the_table_of_isolation_is_what_projects_may_have() -> None:
    text = (ROOT / "docs/security.md").read_text("utf-8")
    told = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert told == list(project.ISOLATIONS) == list(get_args(limits.Isolation))


def test_the_table_of_exit_codes_is_what_processes_end_with() -> None:
    told = first_column("docs/operations.md", "exit codes")
    assert {str(leave.STATE_AHEAD), str(leave.STALLED)} <= told
    assert told == {"0", "1", "2", "70", "75"}


def test_every_module_has_its_line_in_the_architecture() -> None:
    lines = re.findall(
        r"^\| (`.*?) \|", (ROOT / "docs/architecture.md").read_text("utf-8"), re.MULTILINE
    )
    told = {name for line in lines for name in re.findall(r"`(\w+)`", line)}
    there = {
        each.stem
        for package in ("streams/crewstream", "agents/crewstream_agents")
        for each in (ROOT / package).iterdir()
        if each.suffix in {"", ".py"} and not each.name.startswith("_")
    }
    assert told == there
