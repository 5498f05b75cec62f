"""A model call of a journaled run: answered from its record, or made, paid, kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from crewai.events.types.llm_events import LLMCallType
from crewai.llms.base_llm import llm_call_context

from crewstream_agents.failures import RunRefused
from crewstream_agents.journal import budget
from crewstream_agents.journal.record import LLM, Record
from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.request import llm_key
from crewstream_agents.journal.result import decode, encode
from crewstream_agents.limits.bounded import Overdue, awithin, within
from crewstream_agents.limits.serving import serve
from crewstream_agents.limits.steps import Steps
from crewstream_agents.measure import Answer, answers, provider_of, total
from crewstream_agents.offline.model import OfflineModel
from crewstream_agents.spec import Usage

NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "replayed": True}


class LlmCall:
    """One call of `llm`, as its caller means it: what the client tries again is inside of it.

    `given` are the arguments of `BaseLLM.call` by name.
    """

    def __init__(self, journal: Journal, llm: Any, given: Mapping[str, Any]) -> None:
        self._journal, self._llm, self._given = journal, llm, given
        journal.flag.check()
        self._key = llm_key(journal.where(), llm, given)
        self._number = journal.numbers.take(self._key)
        self.record = journal.answer(self._key, self._number)
        self.told: list[Answer] = []
        """What CrewAI's events say of its answers."""
        self.notes: dict[str, str] = {}
        """What is measured beside, such as how long it waited for a shared rate."""
        self._answering = llm
        self._reservation = ""
        self._over = False
        self._lock = threading.Lock()
        self._started = self._clock = 0.0

    @property
    def must_reserve(self) -> bool:
        """Whether an account has a limit that this call could break."""
        return self._journal.limited and not self._journal.recorder.offline

    def reserve(self) -> None:
        """Hold what the call can use. Raises HookAborted. Blocks."""
        name = f"b:{self._key}:{self._number}"
        charge = budget.at_most(name, self._journal.recorder, self._llm, self._given)
        self._journal.reserve(charge)
        with self._lock:
            self._reservation = name
            abandoned = self._over
        if abandoned:  # the run was cancelled while this thread asked
            self._journal.release(name, lost=False)

    def steps(self) -> Steps:
        """The call, on this model or one behind it. Raises what `limits.serving` does."""
        return serve(self._journal.gate, self._llm, self._given, self.told, self.notes)

    def begin(self, llm: Any) -> None:
        """From now on this model works."""
        self._answering = llm
        self._started, self._clock = time.time(), time.perf_counter()

    def limited(self, llm: Any, work: Callable[[], Any]) -> Any:
        """Make a call within the time of a model whose client has no limit of its own."""
        try:
            return within(self._limit_s(llm), str(llm.model), work)
        except Overdue as late:
            raise _unavailable(late) from late

    async def alimited(self, llm: Any, work: Awaitable[Any]) -> Any:
        """The same on an event loop."""
        try:
            return await awithin(self._limit_s(llm), str(llm.model), work)
        except Overdue as late:
            raise _unavailable(late) from late

    def _limit_s(self, llm: Any) -> float | None:
        keeps_time = "timeout" in type(llm).model_fields or isinstance(llm, OfflineModel)
        return None if keeps_time else self._journal.gate.policy.models.timeout_s

    def failed(self, error: BaseException | None) -> None:
        """The call brought nothing. Raises HookAborted. Blocks."""
        with self._lock:
            self._over = True
        self._journal.numbers.give_back(self._key, self._number)
        if self._reservation:
            # Who was cut off in mid-call cannot know what the provider will charge.
            begun = self._started > 0
            cut = begun and error is not None and not isinstance(error, Exception)
            self._journal.release(self._reservation, lost=cut)

    def done(self, result: Any) -> None:
        """Keep the answer. Blocks.

        CrewAI takes an empty answer for none, and asks again. Raises HookAborted.
        """
        if not result:
            self.failed(None)
            return
        record = self._record(result)
        offline = self._journal.recorder.offline
        charge = None if offline else budget.spent(self._reservation, record.usage)
        self._journal.keep(self._key, self._number, record, charge)

    def replay(self, record: Record) -> Any:
        """The answer of an earlier run, told to CrewAI's events as one that used nothing."""
        llm, given = self._llm, self._given
        value = decode(record.result, given.get("response_model"))
        if record.reported:  # so that CrewOutput.token_usage is that of an uninterrupted run
            llm._track_token_usage_internal(dict(record.reported))  # noqa: SLF001 - guarded
        whose = {name: given.get(name) for name in ("from_task", "from_agent")}
        box = answers.set([])
        try:
            with llm_call_context():
                self._emit(record, value, whose)
        finally:
            answers.reset(box)
        self._journal.replayed(self._key, self._number, record)
        return value

    def _emit(self, record: Record, value: Any, whose: Mapping[str, Any]) -> None:
        llm, messages = self._llm, self._given["messages"]
        llm._emit_call_started_event(  # noqa: SLF001 - guarded by a test, as are those below
            messages=messages, tools=self._given.get("tools"), **whose
        )
        if llm._effective_stream() and isinstance(value, str):  # noqa: SLF001
            llm._emit_stream_chunk_event(value, **whose)  # noqa: SLF001
        llm._emit_call_completed_event(  # noqa: SLF001
            response=value,
            call_type=LLMCallType(record.kind_of_answer or LLMCallType.LLM_CALL),
            messages=messages,
            usage=NO_USAGE,
            finish_reason=record.finish_reason,
            response_id=record.response_id,
            **whose,
        )

    def _record(self, result: Any) -> Record:
        llm, told = self._answering, self.told
        last = told[-1] if told else None
        model, event = str(llm.model), last.event if last else None
        # A model of the user's own may tell nothing of its usage; it is one call all the same.
        usage = total([one.call for one in told]) if told else Usage(llm_calls=1)
        unpriced = any("price" in one.call.attributes for one in told) or not told
        kind = getattr(event, "call_type", None)
        return Record(
            kind=LLM,
            result=encode(result, self._given.get("response_model")),
            started=self._started,
            duration_ms=(time.perf_counter() - self._clock) * 1000,
            agent=str(getattr(self._given.get("from_agent"), "role", None) or ""),
            provider=last.call.provider if last else provider_of(llm, model),
            model=last.call.model if last else model,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            llm_calls=usage.llm_calls,
            cost_usd="" if unpriced and not self._journal.recorder.offline else str(usage.cost_usd),
            kind_of_answer=kind.value if kind is not None else "",
            finish_reason=getattr(event, "finish_reason", None),
            response_id=getattr(event, "response_id", None),
            reported=dict(getattr(event, "usage", None) or {}),
            attributes=self.notes,
        )


def _unavailable(late: Overdue) -> RunRefused:
    return RunRefused("llm.unavailable", str(late), retryable=True)
