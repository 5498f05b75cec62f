"""What of a crew's run others can see: requests to models, tools, callbacks, events, outcome."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crewai.events.event_bus import crewai_event_bus
from crewai.events.stream_context import add_stream_sink, reset_stream_sinks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewai import Crew

CHANCE = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{12,64}\b|0x[0-9a-f]+"
    r"|(?<=tool-result-)[\w-]{22}"
)
"""Ids and addresses, which differ in every run."""

TOLD = ("agent_role", "task_name", "tool_name", "tool_args", "usage", "finish_reason", "error")
"""What of an event is compared, beside its type."""


@dataclass(slots=True)
class Log:
    """Filled by the models, tools and callbacks of a shape."""

    asked: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)

    def ask(self, messages: Any, tools: Any, response_model: Any) -> None:
        """A request to a model, whole: roles, words, tools and the answer's form."""
        self.asked.append(plain([messages, tools, getattr(response_model, "__name__", None)]))

    def use(self, name: str, **arguments: object) -> None:
        """A tool that really ran."""
        self.used.append(plain([name, arguments]))

    def call(self, name: str, *what: object) -> None:
        """A callback."""
        self.called.append(plain([name, *what]))


@dataclass(frozen=True, slots=True)
class Seen:
    """A run, as it is compared."""

    outcome: str
    asked: Sequence[str]
    used: Sequence[str]
    called: Sequence[str]
    events: Sequence[str]


def plain(value: object) -> str:
    """Words for a value that are the same in every run."""
    return CHANCE.sub("*", repr(value))


def observe(
    crew: Crew, log: Log, *, awaited: bool, inputs: Mapping[str, Any] | None, in_order: bool
) -> Seen:
    """Run a crew. `in_order`: its calls follow one another, so their order is compared as well."""
    events: list[str] = []
    token = add_stream_sink(lambda _, event: events.append(_told(event)))
    given = dict(inputs) if inputs is not None else None
    try:
        result: Any = asyncio.run(crew.akickoff(given)) if awaited else crew.kickoff(given)
        outcome = _outcome(result)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - how a run fails is compared as well
        outcome = plain([type(error).__name__, str(error)[:300]])
    finally:
        reset_stream_sinks(token)
        crewai_event_bus.flush()
    # The environment is announced once per process, by whichever run comes first.
    kept = [e for e in events if not e.startswith("flow_") and "_env|" not in e]
    order = list if in_order else sorted
    return Seen(outcome, order(log.asked), order(log.used), order(log.called), order(kept))


def _told(event: Any) -> str:
    return f"{event.type}|" + plain({name: getattr(event, name, None) for name in TOLD})


def _outcome(result: Any) -> str:
    """All that a caller gets, task by task."""
    tasks = [
        (
            task.name,
            task.agent,
            task.raw,
            task.pydantic,
            task.json_dict,
            task.messages,
            task.tool_failures,
        )
        for task in result.tasks_output
    ]
    told = (result.raw, result.pydantic, result.json_dict, tasks, result.token_usage)
    return plain(told)
