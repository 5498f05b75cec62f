"""A real language model, small and local, behind everything of ours: `make smoke`."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from crewai import Agent, Crew, Task
from pydantic import BaseModel

from crewstream_agents import models
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.journal.store import Redises
from crewstream_agents.policy import ModelPolicy, ModelSpec, Policy, Rate, Route
from crewstream_agents.run import Run
from crewstream_agents.spec import Call, CrewTask, JournalPlace, Operation, Status
from crewstream_agents.templates import Template
from support import llama_server

ROOT = Path(__file__).parents[3]
INSTALLED = Path(os.environ.get("CREWSTREAM_SMOKE") or ROOT / ".smoke")

pytestmark = [
    pytest.mark.smoke,
    pytest.mark.timeout(900),  # seconds on an idle machine, minutes on a busy one
    pytest.mark.skipif(
        not (INSTALLED / ".done").exists(), reason="no local model; `make smoke` installs one"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]


class Choice(BaseModel):
    """A structured output, which the server's grammar enforces: a small model ends no list."""

    product: Literal["lamp", "chair", "parasol"]
    season: Literal["spring", "summer", "autumn"]


class Templates:
    """Those of a single crew."""

    def __init__(self, crew: Crew) -> None:
        self._template = Template(crew, [agent.role for agent in crew.agents])

    async def get(self, *_: str) -> Template:
        return self._template

    def external_tools(self, _: str) -> list[str]:
        return []


@pytest.fixture
def server(eventually: Any) -> Iterator[str]:
    """The URL of a server with the model."""
    environ = {**os.environ, "PYTHONPATH": str(INSTALLED)}
    process = subprocess.Popen(
        [sys.executable, llama_server.__file__],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/models") as answer:  # noqa: S310 - our own server
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        eventually(ready)
        yield url
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def campaign() -> Crew:
    seller = Agent(role="Copywriter", goal="Sell garden lamps", backstory="You are brief.")
    choice = Task(
        name="choice",
        description="Choose a product to advertise for an evening garden party, and its season.",
        expected_output="A product and a season",
        agent=seller,
        output_pydantic=Choice,
    )
    return Crew(agents=[seller], tasks=[choice])


async def test_a_crew_runs_on_a_real_model_behind_one_that_is_away(
    server: str, valkey: str
) -> None:
    isolate()
    seam.install()
    away = ModelSpec("away", "http://127.0.0.1:9/v1")
    local = ModelSpec("smollm2", server, timeout_s=600, max_tokens=64, temperature=0.0)
    policy = Policy(ModelPolicy((Route((away, local)),), {"openai/smollm2": Rate(600, 100_000)}))
    redises = Redises(JournalPlace(valkey, f"t{uuid.uuid4().hex[:8]}"), lambda: None)
    name = uuid.uuid4().hex
    task = CrewTask(name, "w", "t", 1, "acme", "p", "c", "", journal=name, deadline_s=840)
    templates: Any = Templates(campaign())

    first = await Run(task, redises, policy=policy).execute(templates, models.assign, {})
    again = await Run(task, redises, policy=policy).execute(templates, models.assign, {})
    redises.close()

    assert first.status is again.status is Status.SUCCEEDED, first.failure
    assert Choice.model_validate_json(first.output_json or "") is not None
    paid = [call for call in first.calls if call.operation is Operation.CHAT and call.name]
    assert again.output == first.output
    assert sum(call.replayed for call in again.calls) == len(paid)
    assert not [call for call in again.calls if call.error_type]
    assert [(call.model, call.attributes["fallback_of"]) for call in paid] == [
        ("smollm2", "openai/away")
    ]
    assert all(0 < call.usage.output_tokens <= 64 for call in paid)
    print(f"\n{_told(paid)}\n{first.output}")


def _told(paid: list[Call]) -> str:
    tokens = sum(call.usage.input_tokens + call.usage.output_tokens for call in paid)
    return f"{len(paid)} calls, {tokens} tokens, {sum(c.duration_ms for c in paid) / 1000:.1f} s"
