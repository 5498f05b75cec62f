"""What of CrewAI would let one run reach another one, or the disk, and how that is kept apart.

Every name of CrewAI that is replaced or emptied here is held by a guard test.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from crewai.events.event_listener import EventListener
from crewai.project.utils import cache as memo_cache
from crewai.rag.chromadb import config as rag_config
from crewai.tools import structured_tool
from crewai.utilities import file_store, task_output_storage_handler

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, MutableMapping


TASK_OUTPUTS: Final = "KickoffTaskOutputsSQLiteStorage"
"""The name by which CrewAI's handler of task outputs finds its store."""


FILE_STORE: Final = "_file_store"
RUN_SYNC: Final = "_run_sync"
"""CrewAI's files of a run: asked four times a run, each time in a new thread with a new event loop,
also when there is no store (without aiocache) and hence nothing to wait for."""

TOOL_TEXT: Final = "format_description_for_llm"
"""CrewAI's words for a tool: a pure function, whose JSON schema it makes six times a run."""

RAG_FOLDER: Final = "DEFAULT_STORAGE_PATH"
"""Where CrewAI keeps what it searches by meaning: read while it is imported, so for all runners."""

T = TypeVar("T")


class TaskOutputsForgotten:
    """In place of CrewAI's store of the latest task outputs, for replays that we do not offer.

    Stock is one SQLite file for all runs, behind a file lock that is polled every 0.25 s.
    """

    def add(self, *_: Any, **__: Any) -> None: ...

    def update(self, *_: Any, **__: Any) -> None: ...

    def delete_all(self) -> None: ...

    def load(self) -> list[dict[str, Any]]:
        return []


def keep_below(storage: str) -> None:
    """Have this process keep what CrewAI stores in a folder of its own."""
    os.environ["CREWAI_STORAGE_DIR"] = storage
    setattr(rag_config, RAG_FOLDER, storage)


def finish(work: Coroutine[None, None, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a file store that waits has to be asked from an event loop")


def isolate() -> None:
    """Once per process, before the first crew is built."""
    setattr(task_output_storage_handler, TASK_OUTPUTS, TaskOutputsForgotten)
    if getattr(file_store, FILE_STORE) is None:
        setattr(file_store, RUN_SYNC, finish)
    described = getattr(structured_tool, TOOL_TEXT)
    if not hasattr(described, "cache_info"):
        setattr(structured_tool, TOOL_TEXT, lru_cache(maxsize=1024)(described))
    # Our callbacks are closures over a run; only CrewAI's checkpoints, not in use, mind.
    warnings.filterwarnings("ignore", message=".* callbacks cannot be serialized")
    listener = EventListener()
    listener.formatter.verbose = False
    # CrewAI forgets a task when it ends; one that is cut short would stay, with its crew, for ever.
    spans: Any = WeakKeyDictionary()
    listener.execution_spans = spans


@contextlib.contextmanager
def fresh_memo() -> Iterator[None]:
    """Build a @CrewBase crew in here.

    CrewAI memoises its methods by `id(self)` and never forgets: every crew would stay alive, and a
    later one could be given another class's agents.
    """
    entries: MutableMapping[str, Any] = memo_cache._cache  # noqa: SLF001 - guarded by a test
    entries.clear()
    try:
        yield
    finally:
        entries.clear()
