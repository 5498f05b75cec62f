"""A CrewTask in, a CrewOutcome out, for everything that a crew may do."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from crewai import Agent, Crew, Task
from crewai.events.event_listener import EventListener
from crewsample import PROJECT
from crewsample.model import Choice, ScriptedModel, assign

from crewstream_agents import models
from crewstream_agents import templates as templates_module
from crewstream_agents.failures import NO_OUTPUT, RunRefused
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.policy import ModelPolicy, ModelSpec, Policy, Route
from crewstream_agents.progress import REPEAT_S
from crewstream_agents.project import REFUSED
from crewstream_agents.run import Run
from crewstream_agents.spec import CrewOutcome, CrewTask, Operation, Status, ToolFailure, Upstream
from crewstream_agents.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from crewstream_agents.project import Project

# CrewAI reads its own deprecated fields, and warns of callbacks that are methods.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

QUOTE = CrewTask(
    assignment_id="w/t/1",
    workflow_id="w",
    task_id="t",
    attempt=1,
    tenant_id="acme",
    project_id="sample",
    crew="quotes",
    task_type="quote",
    inputs={"sku": "A-17", "client": {"shop": "Corner"}},
    deadline_s=20.0,
)


@pytest.fixture(autouse=True)
def _isolated() -> None:
    isolate()
    seam.install()


async def execute(
    task: CrewTask, give: Any = assign, policy: Policy | None = None, **environ: str
) -> CrewOutcome:
    run = Run(task, policy=policy or Policy())
    return await run.execute(Templates({"sample": PROJECT}), give, environ)


def error_type(outcome: CrewOutcome) -> str:
    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    return outcome.failure.error_type


class Prompts:
    """Gives the crew models that keep what they are asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.crews: list[Crew] = []

    def __call__(self, crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> Choice:
        choice = assign(crew, task, environ)
        self.crews.append(crew)
        for agent in crew.agents:
            asked = self.asked

            def compose(text: str, _: list[str], asked: list[str] = asked) -> str:
                asked.append(text)
                return "answer"

            agent.llm = ScriptedModel(model="scripted/x", compose=compose)
        return choice


async def test_one_task_is_run_by_its_agent() -> None:
    outcome = await execute(QUOTE)

    assert (outcome.status, outcome.output) == (Status.SUCCEEDED, "A-17=120")
    assert (outcome.agent, outcome.model, outcome.offline) == (
        "Clerk for Corner",
        "scripted/model",
        True,
    )
    assert [(call.sequence, call.operation, call.tool) for call in outcome.calls] == [
        (0, Operation.INVOKE_AGENT, ""),
        (1, Operation.CHAT, ""),
        (2, Operation.EXECUTE_TOOL, "price_lookup"),
        (3, Operation.CHAT, ""),
    ]
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (20, 10)
    assert (outcome.usage.llm_calls, outcome.usage.tool_calls) == (2, 1)


async def test_a_whole_crew_tells_of_each_task_in_crewais_names() -> None:
    outcome = await execute(replace(QUOTE, task_type=""))

    assert outcome.crew_output is not None
    assert outcome.crew_output.raw == outcome.output
    told = [(each.name, each.agent, each.raw) for each in outcome.crew_output.tasks_output]
    assert told == [
        ("quote", "Clerk for Corner", "A-17=120"),
        ("offer", "Writer", outcome.crew_output.raw),
    ]


async def test_where_a_run_is_can_be_followed() -> None:
    run = Run(QUOTE)
    first = run.tracker.news(0.0)
    assert first is not None
    assert (first.step, first.agent) == (0, "")
    assert run.tracker.news(REPEAT_S - 1) is None

    await run.execute(Templates({"sample": PROJECT}), assign, {})

    last = run.tracker.news(1.0)
    assert last is not None
    assert (last.task, last.agent, last.model, last.tool) == (
        "quote",
        "Clerk for Corner",
        "scripted/model",
        "",
    )
    assert (last.step, last.input_tokens, last.output_tokens) == (2, 20, 10)
    assert run.tracker.news(REPEAT_S) is None
    assert run.tracker.news(REPEAT_S + 1) == last  # again, for who has forgotten it


async def test_an_empty_task_type_is_the_whole_crew() -> None:
    prompts = Prompts()

    outcome = await execute(replace(QUOTE, task_type="", expected_output="Three lines."), prompts)

    assert outcome.agent == "Writer"
    assert ["Three lines." in text for text in prompts.asked] == [False, True]


async def test_another_agent_can_be_named() -> None:
    assert (await execute(replace(QUOTE, agent="writer"))).agent == "Writer"


async def test_the_request_reaches_the_model_framed() -> None:
    prompts = Prompts()
    task = replace(
        QUOTE,
        description="Keep {braces} and {sku} as they are.",
        expected_output="In {currency}.",
        upstream=[Upstream("t0", "succeeded", "said {shop}")],
    )

    await execute(task, prompts)

    (prompt,) = prompts.asked
    assert "Quote the price of A-17 in (not given)." in prompt
    assert "## This request\nKeep {braces} and {sku} as they are." in prompt
    assert '"output": "said {shop}"' in prompt
    assert "In {currency}." in prompt


async def test_inputs_are_no_templates_of_templates() -> None:
    prompts = Prompts()

    await execute(replace(QUOTE, inputs={"sku": "{shop}", "shop": "Corner"}), prompts)

    assert '"sku": "{shop}"' in prompts.asked[0]


async def test_no_output_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert (await execute(replace(QUOTE, task_type="offer"))).status is Status.SUCCEEDED
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - nobody waits for this loop


@pytest.mark.parametrize(
    ("change", "expected", "known"),
    [
        ({"task_type": "nope"}, "task.unknown_type", "quote, offer"),
        ({"agent": "nope"}, "task.unknown_agent", "clerk, writer"),
        ({"crew": "nope"}, "task.unknown_crew", "quotes"),
        ({"project_id": "nope"}, "task.unknown_crew", "sample"),
    ],
)
async def test_what_is_unknown_is_refused_with_what_is_known(
    change: dict[str, Any], expected: str, known: str
) -> None:
    outcome = await execute(replace(QUOTE, **change))

    assert error_type(outcome) == expected
    assert outcome.failure is not None
    assert known in outcome.failure.message
    assert not outcome.failure.retryable


async def test_a_tool_that_fails_is_told_though_the_run_succeeds() -> None:
    outcome = await execute(replace(QUOTE, inputs={"sku": "broken"}))

    assert outcome.status is Status.SUCCEEDED
    assert list(outcome.tool_failures) == [
        ToolFailure("price_lookup", "the price list is away (code: ValueError)")
    ]
    assert [c.error_type for c in outcome.calls if c.tool] == ["tool.failed"]


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_model_that_is_away_is_retryable_and_tried_as_often_as_configured(
    retries: int,
) -> None:
    policy = Policy(ModelPolicy(retries=retries))

    outcome = await execute(replace(QUOTE, inputs={"model_error": "refused"}), policy=policy)

    assert error_type(outcome) == "llm.unavailable"
    assert sum(call.operation is Operation.CHAT for call in outcome.calls) == 1 + retries


async def test_a_model_that_cannot_be_called_as_configured_ends_the_run_before_any_call() -> None:
    route = Route((ModelSpec("openai/gpt-4o", key_env="OURS"),))

    outcome = await execute(QUOTE, models.assign, Policy(ModelPolicy((route,))))

    assert error_type(outcome) == "model.not_configured"
    assert outcome.failure is not None
    assert "set OURS" in outcome.failure.message
    assert not outcome.calls


async def test_tools_are_held_to_their_lists_also_without_a_journal() -> None:
    outcome = await execute(replace(QUOTE, tools=[["price_*"], ["other"]]))

    assert outcome.status is Status.SUCCEEDED
    assert [call.error_type for call in outcome.calls if call.tool] == ["tool.not_allowed"]
    assert [failed.tool for failed in outcome.tool_failures] == ["price_lookup"]


async def test_a_false_success_is_a_failure() -> None:
    assert error_type(await execute(replace(QUOTE, inputs={"say": NO_OUTPUT}))) == "crew.failed"


async def test_text_that_has_no_utf8_is_mended() -> None:
    assert (await execute(replace(QUOTE, inputs={"say": "a\ud800b"}))).output == "a?b"


async def test_a_deadline_ends_the_run() -> None:
    outcome = await execute(replace(QUOTE, deadline_s=0.2, inputs={"latency_s": 30}))

    assert error_type(outcome) == "task.timeout"
    assert {call.error_type for call in outcome.calls} == {"task.timeout"}


@pytest.mark.parametrize("executor", ["lean", "stock"])
async def test_a_stopped_run_is_cancelled_and_leaves_nothing(executor: str) -> None:
    kept: list[weakref.ref[Crew]] = []

    def slow(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> Choice:
        kept.append(weakref.ref(crew))
        return assign(crew, task, environ)

    run = Run(replace(QUOTE, inputs={"latency_s": 0.5, "sku": "A"}))
    environ = {"CREWSTREAM_EXECUTOR": executor}
    ending = asyncio.create_task(run.execute(Templates({"sample": PROJECT}), slow, environ))
    while not run.recorder.calls():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    run.stop()
    outcome = await asyncio.wait_for(ending, 1.0)

    assert outcome.status is Status.CANCELLED
    del run, ending
    for _ in range(100):
        gc.collect()
        if kept[0]() is None:
            break
        await asyncio.sleep(0.02)
    assert kept[0]() is None
    assert not EventListener().execution_spans


async def test_a_run_stopped_before_it_begins_does_nothing() -> None:
    run = Run(QUOTE)
    run.stop()

    outcome = await run.execute(Templates({"sample": PROJECT}), assign, {})

    assert (outcome.status, list(outcome.calls)) == (Status.CANCELLED, [])


async def test_a_template_is_built_once_and_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = templates_module.build

    def counting(project: Project, crew: str, environ: Mapping[str, str]) -> Any:
        built.append(crew)
        return build(project, crew, environ)

    monkeypatch.setattr(templates_module, "build", counting)
    shared = Templates({"sample": PROJECT})
    outcomes = await asyncio.gather(*(Run(QUOTE).execute(shared, assign, {}) for _ in range(5)))

    assert {outcome.output for outcome in outcomes} == {"A-17=120"}
    assert built == ["quotes"]
    template = await shared.get("sample", "quotes")
    assert isinstance(template, templates_module.Template)
    assert template.crew.agents[0].role == "Clerk for {shop}"


def test_a_crew_that_cannot_be_built_says_why() -> None:
    with pytest.raises(RunRefused, match=r"crewsample\.crew:Nope cannot be built: AttributeError"):
        templates_module.build(replace(PROJECT, crews={"c": "crewsample.crew:Nope"}), "c", {})


@pytest.mark.parametrize("fault", ["memory", "output_file"])
async def test_what_cannot_run_here_is_refused(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Maker:
        """Stands where a @CrewBase class would."""

        def crew(self) -> Crew:
            agent = Agent(role="r", goal="g", backstory="b", llm=ScriptedModel(model="scripted/x"))
            task = Task(description="d", expected_output="e", agent=agent)
            built = Crew(agents=[agent], tasks=[task])
            built.memory = fault == "memory"
            if fault == "output_file":
                task.output_file = "/etc/{sku}"
            return built

    monkeypatch.setattr("crewsample.crew.QuotesCrew", Maker)

    with pytest.raises(RunRefused, match=fault):
        await Templates({"sample": replace(PROJECT, memory=REFUSED)}).of(QUOTE)
