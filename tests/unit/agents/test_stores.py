"""Memory and knowledge: refused where they would reach another tenant, else kept apart."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromadb.api.types import EmbeddingFunction
from crewai import Agent, Crew, Task
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.rag.chromadb import config as rag_config
from crewai.rag.embeddings.providers.custom.embedding_callable import CustomEmbeddingFunction
from crewai_core import lock_store
from crewsample import PROJECT
from crewsample.model import ScriptedModel, assign
from typing_extensions import override

from crewstream_agents import stores
from crewstream_agents.failures import RunRefused
from crewstream_agents.isolation import RAG_FOLDER, keep_below
from crewstream_agents.project import LEFT_OUT, REFUSED, SCOPED
from crewstream_agents.run import Run
from crewstream_agents.scopes import MEMORY_SETTING, memory_place
from crewstream_agents.spec import CrewTask, Status
from crewstream_agents.templates import Templates

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Hashed(CustomEmbeddingFunction, EmbeddingFunction[Any]):
    """An embedder without a model, of both the classes that CrewAI wants one to be of."""

    def __init__(self) -> None:
        pass

    @override
    def __call__(self, input: Any) -> Any:
        return [[float(byte) for byte in hashlib.sha256(text.encode()).digest()] for text in input]


EMBEDDER: Any = {"provider": "custom", "config": {"embedding_callable": Hashed}}


def crew(**known: Any) -> Crew:
    agent = Agent(role="r", goal="g", backstory="b", llm=ScriptedModel(model="scripted/x"))
    task = Task(description="d", expected_output="e", agent=agent)
    return Crew(name="c", agents=[agent], tasks=[task], **known)


def of(tenant: str, project: str = "sample") -> CrewTask:
    return CrewTask("w/t/1", "w", "t", 1, tenant, project, "quotes", "")


def refused(built: Crew, memory: str = REFUSED, *, alone: bool = False) -> str:
    with pytest.raises(RunRefused) as caught:
        stores.check(built, "here", memory, alone=alone)
    assert caught.value.failure.error_type == "crew.invalid"
    return str(caught.value)


@pytest.fixture
def remembering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crew:
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path / "default"))
    return crew(memory=True, embedder=EMBEDDER)


def test_memory_is_refused_unless_the_project_has_it_scoped(remembering: Crew) -> None:
    said = refused(remembering)

    assert said.startswith("here: CrewAI keeps memory by the crew's name")
    assert "Project(memory='scoped')" in said
    stores.check(remembering, "here", SCOPED, alone=False)


def test_memory_is_left_out_unless_the_project_says_otherwise(remembering: Crew) -> None:
    remembering.agents[0].memory = True

    stores.leave_out(remembering)

    assert not remembering.memory
    assert remembering._memory is None  # noqa: SLF001 - what CrewAI's agents ask
    assert not remembering.agents[0].memory
    assert PROJECT.memory == LEFT_OUT
    stores.check(remembering, "here", LEFT_OUT, alone=False)


def test_scoped_memory_needs_an_embedder_of_its_own(remembering: Crew) -> None:
    remembering.embedder = None

    assert "embedder={'provider': …}" in refused(remembering, SCOPED)


def test_a_memory_that_the_crew_brings_is_refused(remembering: Crew) -> None:
    remembering.memory = remembering._memory  # noqa: SLF001 - its own

    assert "write memory=True" in refused(remembering, SCOPED)


def test_an_agents_own_memory_is_refused() -> None:
    built = crew()
    built.agents[0].memory = True

    assert "by its role for everybody" in refused(built, SCOPED)


def test_knowledge_is_refused_where_other_runs_would_find_it() -> None:
    built = crew()
    built.agents[0].knowledge_sources = [StringKnowledgeSource(content="x")]

    assert "Project(isolation='process')" in refused(built)
    stores.check(built, "here", REFUSED, alone=True)


def test_what_one_tenant_remembers_no_other_recalls(remembering: Crew, tmp_path: Path) -> None:
    environ = {MEMORY_SETTING: str(tmp_path / "memories")}
    found: dict[Any, Any] = {}
    for tenant, project in (("acme", "p"), ("acme", "p"), ("acme", "q"), ("other", "p")):
        copied = remembering.copy()
        stores.scope(copied, of(tenant, project), environ)
        memory: Any = copied._memory  # noqa: SLF001 - what CrewAI's agents ask, as scope makes it
        found[tenant, project] = [one.record.content for one in memory.recall("w", depth="shallow")]
        memory.remember("secret of acme", scope="/", categories=[], importance=0.9)
        memory.drain_writes()

    assert found == {("acme", "p"): ["secret of acme"], ("acme", "q"): [], ("other", "p"): []}
    assert not list((tmp_path / "default").rglob("*.lance"))


def test_without_a_folder_for_memories_the_run_is_refused(remembering: Crew) -> None:
    with pytest.raises(RunRefused, match=MEMORY_SETTING):
        stores.scope(remembering, of("acme"), {})


@pytest.mark.parametrize("name", ["..", ".", "a/../..", "/etc", "a\\b", "%2E%2E"])
def test_no_tenant_has_a_name_that_leads_to_another(name: str) -> None:
    place = Path(memory_place("/memories", name, name))

    assert place.parent.parent == Path("/memories")
    assert ".." not in place.parts
    assert place != Path(memory_place("/memories", "..", "%2E"))


def test_locks_of_memories_lie_within_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "memory").mkdir()
    stores.install_locks()
    try:
        with lock_store.lock(f"{stores.LANCE_LOCK}{tmp_path}/memory"), lock_store.lock("another"):
            assert len(list(tmp_path.glob("*.lock"))) == 1
            assert (tmp_path / "memory" / "lock").exists()
    finally:
        lock_store.set_lock_backend(None)


def test_what_crewai_searches_is_kept_where_we_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rag_config, RAG_FOLDER, getattr(rag_config, RAG_FOLDER))
    monkeypatch.setenv("CREWAI_STORAGE_DIR", "before")

    keep_below(str(tmp_path))

    assert rag_config._default_settings().persist_directory  # noqa: SLF001 - what it makes of the name == str(tmp_path)


async def test_a_run_remembers_for_its_tenant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Maker:
        """Stands where a @CrewBase class would."""

        def crew(self) -> Crew:
            return crew(memory=True, embedder=EMBEDDER)

    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path / "default"))
    monkeypatch.setattr("crewsample.crew.QuotesCrew", Maker)
    templates = Templates({"sample": replace(PROJECT, memory=SCOPED)})
    environ = {MEMORY_SETTING: str(tmp_path / "memories")}

    outcomes = [
        await Run(replace(of(tenant), deadline_s=30)).execute(templates, assign, environ)
        for tenant in ("acme", "other")
    ]

    assert {outcome.status for outcome in outcomes} == {Status.SUCCEEDED}
    memories = tmp_path / "memories"
    assert {str(path.relative_to(memories)) for path in memories.glob("*/*/memories.lance")} == {
        "acme/sample/memories.lance",
        "other/sample/memories.lance",
    }
    assert not list((tmp_path / "default").rglob("*.lance"))
