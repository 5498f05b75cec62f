"""The names of CrewAI that are replaced are still there, and what they do is what we replace."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import pytest
from crewai import Agent, Crew, Task
from crewai.events.event_listener import EventListener
from crewai.hooks.dispatch import (
    HookAborted,
    InterceptionPoint,
    dispatch,
    get_scoped_hooks,
    scoped_hooks,
)
from crewai.project.utils import cache
from crewai.tools import BaseTool, structured_tool
from crewai.utilities import file_store, task_output_storage_handler
from crewsample.crew import QuotesCrew
from crewsample.model import ScriptedModel
from typing_extensions import override

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.isolation import (
    FILE_STORE,
    RUN_SYNC,
    TASK_OUTPUTS,
    TOOL_TEXT,
    TaskOutputsForgotten,
    finish,
    fresh_memo,
    isolate,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Trip(BaseTool):
    """Raises the flag from within a tool call, as a cancellation may come."""

    name: str = "trip"
    description: str = "t"
    flag: Any = None

    @override
    def _run(self) -> str:
        self.flag.stop()
        return "tripped"


def crew(flag: StopFlag, *, native: bool) -> Crew:
    llm = ScriptedModel(model="scripted/x", native=native, plan=lambda *_: [("trip", {})] * 3)
    agent = Agent(role="r", goal="g", backstory="b", llm=llm, tools=[Trip(flag=flag)])
    return Crew(agents=[agent], tasks=[Task(description="d", expected_output="e", agent=agent)])


def test_the_store_of_task_outputs_is_found_by_the_name_that_we_set() -> None:
    assert hasattr(task_output_storage_handler, TASK_OUTPUTS)
    isolate()
    handler = task_output_storage_handler.TaskOutputStorageHandler()

    assert isinstance(handler.storage, TaskOutputsForgotten)
    handler.reset()
    handler.update(0, {"task": None, "output": {}, "task_index": 0})
    assert handler.load() == []


def test_the_words_for_a_tool_are_made_once() -> None:
    isolate()
    tool = Trip().to_structured_tool()
    first = tool.formatted_description
    hits = getattr(structured_tool, TOOL_TEXT).cache_info().hits

    assert tool.formatted_description == first
    assert getattr(structured_tool, TOOL_TEXT).cache_info().hits == hits + 1


def test_without_a_file_store_no_thread_is_started_to_ask_it() -> None:
    isolate()
    assert getattr(file_store, FILE_STORE) is None

    assert getattr(file_store, RUN_SYNC) is finish
    assert file_store.get_all_files(uuid4(), uuid4()) is None


async def test_a_coroutine_that_waits_is_refused() -> None:
    with pytest.raises(RuntimeError, match="waits"):
        finish(asyncio.sleep(1))


def test_spans_do_not_keep_a_crew() -> None:
    isolate()

    assert isinstance(EventListener().execution_spans, WeakKeyDictionary)


def test_the_memo_of_crew_methods_is_emptied() -> None:
    with fresh_memo():
        QuotesCrew().crew()
        assert cache._cache  # noqa: SLF001 - the name that fresh_memo leans on

    assert not cache._cache  # noqa: SLF001 - the same


@pytest.mark.parametrize("native", [True, False])
def test_a_flag_raised_within_a_tool_stops_the_crew(*, native: bool) -> None:
    flag = StopFlag()

    with flag.watched(), pytest.raises(HookAborted):
        crew(flag, native=native).kickoff()


def test_a_flag_does_not_reach_other_runs() -> None:
    stopped, other = StopFlag(), StopFlag()
    stopped.stop()

    with stopped.watched():
        thread = threading.Thread(target=crew(other, native=True).kickoff)
    thread.start()
    thread.join()

    assert not get_scoped_hooks(InterceptionPoint.PRE_STEP)


def test_hooks_that_are_there_already_still_run() -> None:
    seen: list[object] = []

    with scoped_hooks({InterceptionPoint.PRE_STEP: [seen.append]}), StopFlag().watched():
        dispatch(InterceptionPoint.PRE_STEP, "context")

    assert seen == ["context"]


async def test_a_flag_reaches_the_threads_of_a_run() -> None:
    flag = StopFlag()
    flag.stop()

    with flag.watched(), pytest.raises(HookAborted):
        await asyncio.to_thread(dispatch, InterceptionPoint.POST_TOOL_CALL, "context")
