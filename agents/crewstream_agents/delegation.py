"""What agents of a run ask of one another: told, and given to whom the records speak for.

CrewAI's delegation tools are seen through its tool hooks, natively and in text alike. What was told
of a delegation stays in the journal, so that a run that goes on tells the same of it.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from crewai.hooks.dispatch import InterceptionPoint, get_scoped_hooks, scoped_hooks
from crewai.tools.agent_tools.ask_question_tool import AskQuestionTool
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from crewai.tools.agent_tools.delegate_work_tool import DelegateWorkTool
from crewai.utilities.i18n import I18N_DEFAULT

from crewstream_agents.journal import replay
from crewstream_agents.journal.tool import original
from crewstream_agents.spec import Delegation

LONGEST_TEXT: Final = 1_000
"""Characters that travel of what was asked, why, and what came back."""

KINDS: Final[Mapping[type[BaseAgentTool], str]] = {
    DelegateWorkTool: "delegate_work",
    AskQuestionTool: "ask_question",
}

UNKNOWN_COWORKER: Final = "delegation.unknown_coworker"
FAILED: Final = "delegation.failed"

Choose = Callable[[Sequence[str], str], str]
"""Names of agents that may do it, and what the choice is to be remembered by -> one of them."""


@dataclass(slots=True)
class _Open:
    """A delegation under way."""

    delegation: Delegation
    started_s: float
    clock_s: float


@dataclass(slots=True)
class Delegations:
    """Those of one run.

    `name_of` gives an agent's name in its project. `instead` are groups of names whose agents may
    be asked in each other's place, of which `choose` picks; without one nobody is asked but whom
    the manager named.
    """

    name_of: Callable[[Any], str]
    instead: Sequence[Sequence[str]] = ()
    choose: Choose | None = None
    _open: dict[int, _Open] = field(default_factory=dict)
    _ended: list[Delegation] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What agents ask of one another in here is told by `ended`."""
        hooks = {
            InterceptionPoint.PRE_TOOL_CALL: self._before,
            InterceptionPoint.POST_TOOL_CALL: self._after,
        }
        # A scope replaces the outer one, so what is there already is taken along.
        outer = {point: get_scoped_hooks(point) for point in InterceptionPoint}
        with scoped_hooks({**outer, **{at: [*outer[at], hook] for at, hook in hooks.items()}}):
            yield

    def ended(self) -> Sequence[Delegation]:
        """All that have ended, in that order."""
        with self._lock:
            return tuple(self._ended)

    def _before(self, context: Any) -> None:
        tool = original(context.tool)
        kind = _kind(tool)
        if not kind:
            return
        given: dict[str, Any] = context.tool_input
        named = _coworker(given)
        agent = self._direct(tool, named, given)
        delegation = Delegation(
            manager=_role(context.agent),
            coworker=_role(agent) or named,
            kind=kind,
            task=_short(given.get("task") or given.get("question")),
            asked=named if agent is not None and not _same(tool, named, agent) else "",
            context=_short(given.get("context")),
            name=self.name_of(agent) if agent is not None else "",
        )
        with self._lock:
            # The same dictionary is given to the hook behind the call.
            self._open[id(given)] = _Open(delegation, time.time(), time.perf_counter())

    def _after(self, context: Any) -> None:
        with self._lock:
            begun = self._open.pop(id(context.tool_input), None)
        if begun is None:
            return
        asked = begun.delegation
        key = _digest(replay.position(), asked.manager, asked.coworker, asked.kind, asked.task)
        told = replay.remember(f"delegation:{key}", lambda: _told(begun, context.tool_result))
        at = datetime.fromtimestamp(told["at_s"], UTC)
        known = {name: value for name, value in told.items() if name != "at_s"}
        with self._lock:
            self._ended.append(replace(asked, at=at, **known))

    def _direct(self, tool: Any, named: str, given: dict[str, Any]) -> Any:
        """The agent that gets the work; where it is not the one that was named, `given` says so."""
        agents = {self.name_of(agent): agent for agent in tool.agents}
        agent = next((one for one in agents.values() if _same(tool, named, one)), None)
        if self.choose is None or not self.instead:
            return agent
        may = self._group(agents, agent) if agent is not None else _nearest(named, agents)
        if len(may) > 1 or agent is None:
            key = _digest(replay.position(), named, given.get("task") or given.get("question"))
            agent = agents[self.choose(may, key)]
            given.pop("co_worker", None)
            given["coworker"] = agent.role
        return agent

    def _group(self, agents: Mapping[str, Any], agent: Any) -> list[str]:
        name = self.name_of(agent)
        group = next((group for group in self.instead if name in group), (name,))
        return [each for each in group if each in agents]


def _told(begun: _Open, result: object) -> dict[str, Any]:
    """What is remembered of a delegation that has just ended."""
    duration_s = time.perf_counter() - begun.clock_s
    return {
        "at_s": begun.started_s + duration_s,
        "duration_ms": duration_s * 1000,
        "result": _short(result),
        "error_type": _error_type(str(result)),
    }


def _kind(tool: Any) -> str:
    return next((kind for each, kind in KINDS.items() if isinstance(tool, each)), "")


def _coworker(given: Mapping[str, Any]) -> str:
    """Whom the model named, as CrewAI reads it: of a list in brackets the first one."""
    named = str(given.get("coworker") or given.get("co_worker") or "")
    if named.startswith("[") and named.endswith("]"):
        named = named[1:-1].partition(",")[0]
    return named


def _same(tool: Any, named: str, agent: Any) -> bool:
    return bool(tool.sanitize_agent_name(named) == tool.sanitize_agent_name(agent.role))


def _nearest(named: str, agents: Mapping[str, Any]) -> list[str]:
    """Who may be meant by a name that nobody has: who is called much like it, else anybody."""
    called = {name: (name, agent.role) for name, agent in agents.items()}
    words = {word.casefold(): name for name, both in called.items() for word in both}
    close = difflib.get_close_matches(named.casefold(), words, n=1)
    return [words[close[0]]] if close else list(agents)


def _error_type(result: str) -> str:
    """CrewAI tells of what goes wrong in words to the model."""
    for message, error_type in (
        ("agent_tool_unexisting_coworker", UNKNOWN_COWORKER),
        ("agent_tool_execution_error", FAILED),
    ):
        start = I18N_DEFAULT.errors(message).partition("{")[0].strip()
        if result.strip().startswith(start):
            return error_type
    return ""


def _role(agent: Any) -> str:
    return str(getattr(agent, "role", "") or "")


def _short(text: object) -> str:
    told = str(text or "").encode("utf-8", "replace").decode()
    return told if len(told) <= LONGEST_TEXT else f"{told[: LONGEST_TEXT - 1]}…"


def _digest(*what: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, what)).encode()).hexdigest()[:16]
