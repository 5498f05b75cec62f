"""A cast of a crew is what CrewAI's own copy of it is, or CrewAI copies it."""

from __future__ import annotations

from typing import Any

import pytest
from crewai import Crew
from crewai.mcp import MCPServerStdio
from crewai.tasks.llm_guardrail import LLMGuardrail
from pydantic import BaseModel

from crewstream_agents.copies import copied, mould
from support.shapes import several, single
from support.shapes.log import Log
from support.shapes.models import Model
from support.shapes.shape import agent, one
from support.shapes.tools import Price

pytestmark = [
    # CrewAI reads its own deprecated fields.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*callbacks cannot be serialized"),
]

SHAPES = {
    name: shape
    for name, shape in [*single.shapes(), *several.shapes()]
    if shape.copies and name not in {"guardrail in words", "max_rpm"}
}


@pytest.fixture
def _no_mould_of_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewai.__version__", "1.16.0")


def crew(**options: Any) -> Crew:
    log = Log()
    return one(agent(Model(model="scripted/x", log=log), tools=[Price(log=log)]), **options)


def told(thing: Any, seen: dict[int, int]) -> Any:
    """A crew as plain values: its objects by the order in which they are met, chance left out."""
    if isinstance(thing, BaseModel):
        known = id(thing) in seen
        number = seen.setdefault(id(thing), len(seen))
        if known:
            return number
        private = thing.__pydantic_private__ or {}
        inside = {**vars(thing), **(thing.__pydantic_extra__ or {}), **private}
        kept = {k: told(v, seen) for k, v in inside.items() if k not in CHANCE}
        return number, type(thing), sorted(thing.model_fields_set), kept
    if isinstance(thing, dict):
        return {key: told(one, seen) for key, one in thing.items()}
    if isinstance(thing, list | tuple):
        # Lists that are one list are one in the copy as well.
        return seen.setdefault(id(thing), len(seen)), [told(one, seen) for one in thing]
    return type(thing) if type(thing).__module__ in ROUTINES else thing


CHANCE = {"id", "_uuid_str", "_created_at", "_task_output_handler"}
ROUTINES = {"_thread", "crewai.utilities.rw_lock", "threading"}


@pytest.mark.parametrize("name", SHAPES)
def test_a_cast_is_what_crewais_copy_is(name: str) -> None:
    template = SHAPES[name].build(Log())
    made = mould(template)

    assert made is not None
    assert told(made.cast(), {}) == told(template.copy(), {})


def test_copies_share_no_agents_tasks_ids_or_caches() -> None:
    template = crew()
    first, second = copied(template), copied(template)

    ids = [(c.id, c.agents[0].id, c.tasks[0].id) for c in (template, first, second)]
    assert len({number for each in ids for number in each}) == 9
    assert first.agents[0] is not second.agents[0]
    assert first.tasks[0].agent is first.agents[0]
    assert first.agents[0].llm is not second.agents[0].llm
    assert first.agents[0].tools is not second.agents[0].tools
    assert (first.agents[0].tools or [])[0] is (template.agents[0].tools or [])[0]
    assert first._cache_handler._lock is not second._cache_handler._lock  # noqa: SLF001 - a part
    security = first.agents[0].security_config.fingerprint.uuid_str
    assert security != second.agents[0].security_config.fingerprint.uuid_str


def test_a_copy_that_has_run_leaves_nothing_in_the_next() -> None:
    template = crew()
    copied(template).kickoff()

    fresh = copied(template)

    assert fresh.tasks[0].output is None
    assert fresh.agents[0].agent_executor is None
    assert told(fresh, {}) == told(template.copy(), {})


def test_a_crew_with_a_part_that_is_not_known_is_copied_by_crewai() -> None:
    template = crew(guardrail="be polite")

    assert mould(template) is None
    guardrail = copied(template).tasks[0]._guardrail  # noqa: SLF001 - where CrewAI keeps it
    assert isinstance(guardrail, LLMGuardrail)


def test_what_crewais_copy_leaves_out_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    server = MCPServerStdio(command="server")
    original = crew(function_calling_llm="openai/gpt-4o")
    calling = original.function_calling_llm
    original.agents[0].mcps, original.agents[0].apps = [server], ["gmail"]

    copies = [copied(original) for _ in range(2)]

    assert mould(original) is not None
    assert original.function_calling_llm is calling
    for made in copies:
        assert (made.agents[0].mcps, made.agents[0].apps) == ([server], ["gmail"])
        assert isinstance(made.function_calling_llm, type(calling))


@pytest.mark.usefixtures("_no_mould_of_releases")
def test_another_release_of_crewai_copies_its_crews_itself() -> None:
    assert mould(crew()) is None
    result: Any = copied(crew()).kickoff()
    assert result.raw == "done"


def test_the_mould_goes_with_its_crew() -> None:
    from crewstream_agents import copies  # noqa: PLC0415 - its table is looked into

    template = crew()
    copied(template)
    before = len(copies._moulds)  # noqa: SLF001 - as above
    del template

    assert len(copies._moulds) == before - 1  # noqa: SLF001 - as above
