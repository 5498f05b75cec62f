"""What crews keep beyond a run, or look things up in: memory and knowledge, scoped or refused."""

from __future__ import annotations

import fcntl
import tempfile
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from crewai_core.lock_store import set_lock_backend

from crewstream_agents.failures import RunRefused
from crewstream_agents.project import LEFT_OUT, SCOPED
from crewstream_agents.scopes import MEMORY_SETTING, memory_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from crewai import Crew

    from crewstream_agents.spec import CrewTask

LANCE_LOCK: Final = "lancedb:"
"""What the name of CrewAI's lock of a memory begins with; its folder follows."""


def check(crew: Crew, where: str, memory: str, *, alone: bool) -> None:
    """Refuse what would reach from one tenant or project to another.

    `memory` is what the project says: left_out, scoped or refused. `alone`: nothing else runs in
    this process, now or later, so what it stores is seen by nobody else. Raises RunRefused
    (`crew.invalid`).
    """
    if found := fault(crew, memory, alone=alone):
        raise RunRefused("crew.invalid", f"{where}: {found}")


def leave_out(crew: Crew) -> None:
    """Have a crew remember nothing: what CrewAI keeps by a crew's name, all tenants would read."""
    crew.memory = False
    cast("Any", crew).create_crew_memory()
    for agent in crew.agents:
        if getattr(agent, "memory", None):
            agent.memory = None


def fault(crew: Crew, memory: str, *, alone: bool) -> str:
    """Why `check` refuses a crew; empty when it does not."""
    of_memory = "" if memory == LEFT_OUT else _memory_fault(crew, memory)
    return of_memory or _knowledge_fault(crew, alone=alone)


def scope(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> None:
    """Give a copied crew that has memory the one of its tenant and project. Blocks.

    Raises RunRefused (`crew.invalid`).
    """
    from crewai import Memory  # noqa: PLC0415 - it brings a database, which few crews need
    from crewai.rag.embeddings.factory import build_embedder  # noqa: PLC0415 - the same

    root = environ.get(MEMORY_SETTING)
    if not root:
        raise RunRefused("crew.invalid", f"memory needs a folder: set {MEMORY_SETTING}")
    llm = next((agent.llm for agent in crew.agents if agent.llm is not None), None)
    known: dict[str, Any] = {} if llm is None else {"llm": llm}
    crew.memory = Memory(
        storage=_storage(memory_place(root, task.tenant_id, task.project_id)),
        embedder=build_embedder(cast("Any", crew.embedder)),
        root_scope=f"/crew/{quote(task.crew, safe='')}",
        **known,
    )
    cast("Any", crew).create_crew_memory()


def install_locks() -> None:
    """Once per process: locks of memories lie within them, where every runner finds them.

    CrewAI puts them into the folder for temporary files, and each runner has its own.
    """
    set_lock_backend(_locked)


@contextmanager
def _locked(name: str, **_timeout: Any) -> Iterator[None]:
    _, _, memory = name.partition(LANCE_LOCK)
    other = Path(tempfile.gettempdir(), f"{sha256(name.encode()).hexdigest()[:24]}.lock")
    with (Path(memory, "lock") if memory else other).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@lru_cache(maxsize=64)
def _storage(path: str) -> Any:
    from crewai.memory.storage.lancedb_storage import LanceDBStorage  # noqa: PLC0415 - as above

    return LanceDBStorage(path=path)


def _memory_fault(crew: Crew, memory: str) -> str:
    if any(getattr(agent, "memory", None) for agent in crew.agents):
        return "an agent's own memory is kept by its role for everybody; take it out"
    if not crew.memory:
        return ""
    if memory != SCOPED:
        return (
            "CrewAI keeps memory by the crew's name, so tenants would read each other's: take "
            "memory out, or keep one for each tenant by Project(memory='scoped')"
        )
    if crew.memory is not True:
        return "a memory of its own cannot be kept apart by tenant; write memory=True"
    if not crew.embedder:
        return "memory needs an embedder: give the crew one, embedder={'provider': …}"
    return ""


def _knowledge_fault(crew: Crew, *, alone: bool) -> str:
    holders: list[Any] = [crew, *crew.agents]
    has_any = any(getattr(one, "knowledge_sources", None) or one.knowledge for one in holders)
    if alone or not has_any:
        return ""
    return (
        "CrewAI keeps knowledge of all crews of a process in one collection, so projects would "
        "read each other's: take knowledge out, or run the crew by Project(isolation='process')"
    )
