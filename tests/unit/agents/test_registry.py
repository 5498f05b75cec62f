"""Projects are found and described without importing crewai; what is wrong is said plainly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from crewstream_agents.registry import (
    GROUP,
    InvalidProject,
    Project,
    crew_target,
    describe,
    projects,
)

if TYPE_CHECKING:
    from pathlib import Path
from typing import Any

SAMPLE = Project("sample", "Sample", {"quotes": "crewsample.crew:QuotesCrew"})


def install(site: Path, entry: str, **files: str) -> None:
    """Put a distribution on the path `site`, with one entry point and these files."""
    info = site / "acme-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n")
    for name, text in files.items():
        (site / f"{name}.py").write_text(text)


def crew_folder(site: Path, **yaml: str) -> Project:
    """A package whose crew module must never be run, with these yaml files beside it."""
    package = site / f"pkg{abs(hash(site))}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "crew.py").write_text("raise AssertionError('imported')")
    for name, text in yaml.items():
        (package / f"{name}.yaml").write_text(text)
    return Project("acme", "Acme", {"c": f"{package.name}.crew:C"})


def test_finds_installed_projects() -> None:
    assert projects()["sample"] == SAMPLE


def test_tasks_follow_one_another_as_crewai_runs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = """
    a: {agent: x}
    b: {agent: x, async_execution: true}
    c: {agent: x, async_execution: true}
    d: {agent: x}
    e: {agent: x, context: [b, a]}
    f: {agent: x, async_execution: true}
    """
    project = crew_folder(tmp_path, agents="x: {role: X}", tasks=tasks)
    monkeypatch.syspath_prepend(tmp_path)

    (crew,) = describe(project).crews

    assert {task.task_type: list(task.depends_on) for task in crew.tasks} == {
        "a": [],
        "b": ["a"],
        "c": ["a"],
        "d": ["a", "b", "c"],
        "e": ["b", "a"],
        "f": ["a", "b", "c", "d", "e"],
    }


def test_describes_a_crew_from_its_yaml() -> None:
    (crew,) = describe(SAMPLE).crews

    assert (crew.crew, list(crew.agents)) == ("quotes", ["clerk", "writer"])
    quote = crew.tasks[0]
    assert (quote.task_type, quote.agent, quote.expected_output) == ("quote", "clerk", "One price")
    assert list(quote.tools) == ["price_lookup", "nap", "crash"]
    assert crew.description == "Quote the price of {sku} in {currency}; Write the offer"


def test_reads_yaml_in_config_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    project = crew_folder(tmp_path)
    config = next(tmp_path.glob("pkg*")) / "config"
    config.mkdir()
    (config / "agents.yaml").write_text("a: {role: r}")
    (config / "tasks.yaml").write_text("t: {description: 'd', agent: a}")

    assert describe(project).crews[0].tasks[0].task_type == "t"


def test_a_missing_yaml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InvalidProject, match=r"tasks\.yaml is missing"):
        describe(crew_folder(tmp_path, agents="a: {role: r}"))


@pytest.mark.parametrize(("text", "fault"), [("a: [", "is not YAML"), ("a: text", "has to map")])
def test_a_broken_yaml_is_named(
    text: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InvalidProject, match=fault):
        describe(crew_folder(tmp_path, agents=text))


def test_a_missing_crew_module_is_named() -> None:
    with pytest.raises(InvalidProject, match=r"no module 'crewsample\.nope'"):
        describe(replace(SAMPLE, crews={"c": "crewsample.nope:C"}))


def test_a_crew_in_a_missing_package_is_named() -> None:
    with pytest.raises(InvalidProject, match=r"no module 'absent\.crew'"):
        describe(replace(SAMPLE, crews={"c": "absent.crew:C"}))


@pytest.mark.parametrize("target", ["crewsample.crew", "crewsample.crew:", ":C", "m:a.b"])
def test_a_wrong_target_is_named(target: str) -> None:
    with pytest.raises(InvalidProject, match="write it as"):
        crew_target(replace(SAMPLE, crews={"c": target}), "c")


def test_the_agents_that_can_do_a_task_are_described() -> None:
    able = replace(SAMPLE, candidates={"quote": ["writer", "clerk"]})

    quote, offer = describe(able).crews[0].tasks

    assert (list(quote.agents), list(offer.agents)) == (["writer", "clerk"], [])


@pytest.mark.parametrize(
    ("known", "fault"),
    [
        ({"candidates": {"quote": ["clerk", "ghost"]}}, "names ghost in candidates"),
        ({"candidates": {"haggle": ["clerk"]}}, "names haggle in candidates"),
        ({"interchangeable": [["clerk", "ghost"]]}, "names ghost in candidates or interchangeable"),
    ],
)
def test_agents_and_tasks_that_no_crew_has_are_named(known: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidProject, match=fault):
        describe(replace(SAMPLE, **known))


def test_an_unknown_crew_is_named() -> None:
    with pytest.raises(InvalidProject, match="no crew 'x', it has: quotes"):
        crew_target(SAMPLE, "x")


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("acme = acme_absent", "cannot be imported"),
        ("acme = acme_empty", "has no PROJECT"),
        ("acme = acme_twin", "define project 'sample'"),
    ],
)
def test_a_wrong_entry_point_is_named(
    entry: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = (
        "from crewstream_agents.registry import Project\n"
        "PROJECT = Project('sample', 'Another', {})\n"
    )
    install(tmp_path, entry, acme_empty="", acme_twin=twin)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InvalidProject, match=fault):
        projects()


def test_what_the_worker_imports_loads_no_crewai() -> None:
    code = (
        "import sys, crewstream_agents.pool, crewstream_agents.registry, crewstream_agents.spec;"
        "print([m for m in ('crewai', 'genai_prices', 'litellm') if m in sys.modules])"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"
