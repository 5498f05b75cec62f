"""A run that is started again from any part of its journal repeats no call that had finished."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from crewai import Crew

from crewstream_agents.isolation import isolate
from crewstream_agents.journal import fields, seam
from crewstream_agents.journal.record import HOST, LLM, TOOL
from support.journal_bench import Bench, Kickoff, Stored, akickoff, kickoff, new_task
from support.journal_crews import SHAPES, by_name, by_name_structured
from support.openai_stub import OpenAIStub

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
    # CrewAI never closes the clients of its models.
    pytest.mark.filterwarnings("ignore:.*(socket|transport):ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def served(valkey: str) -> Iterator[tuple[Bench, str]]:
    """Journals, and where a model is served."""
    isolate()
    seam.install()
    with OpenAIStub() as stub:
        bench = Bench(valkey, lambda: len(stub.requests))
        yield bench, stub.base_url
        bench.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def kinds(records: Sequence[Stored]) -> list[str]:
    """What the records are that answer calls."""
    return [record.kind for record in fields.read(dict(records)).answers().values()]


def assert_resumes(
    bench: Bench, make: Callable[[], Crew], start: Kickoff, *, lean: bool, everywhere: bool
) -> None:
    task = new_task()
    whole = bench.run(make(), task, start, lean=lean)
    records = bench.records(task.journal)
    made = [kind for kind in kinds(records) if kind != HOST]
    assert whole.llm + whole.tools == len(made)
    every = range(1, len(records) + 1)
    for end in every if everywhere else sorted({len(records) // 2, len(records)}):
        kept = kinds(records[:end])
        again = bench.run(make(), bench.cut(task, records[:end]), start, lean=lean)
        assert again.llm == whole.llm - kept.count(LLM)
        assert again.tools == whole.tools - kept.count(TOOL)
        assert without_numbers(again.output) == without_numbers(whole.output)
        assert again.roles == whole.roles
        if end == len(records):
            assert again.output == whole.output


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "stock"])
@pytest.mark.parametrize("start", [kickoff, akickoff])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_finished_call_is_repeated(
    served: tuple[Bench, str], shape: str, start: Kickoff, *, lean: bool
) -> None:
    if shape == "planning" and start is akickoff:
        pytest.skip("CrewAI cannot: it starts a synchronous loop within a running one")
    assert_resumes(served[0], SHAPES[shape], start, lean=lean, everywhere=lean)


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "stock"])
@pytest.mark.parametrize("start", [kickoff, akickoff])
@pytest.mark.parametrize("make", [by_name, by_name_structured])
def test_no_finished_call_of_a_model_that_is_a_string_is_repeated(
    served: tuple[Bench, str], make: Callable[[str], Crew], start: Kickoff, *, lean: bool
) -> None:
    assert_resumes(served[0], partial(make, served[1]), start, lean=lean, everywhere=False)
