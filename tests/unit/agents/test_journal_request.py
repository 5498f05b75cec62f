"""Two calls have one key exactly when they ask for the same in the same place."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from crewstream_agents.journal.request import canonical, llm_key, messages, tool_key

LLM: Any = SimpleNamespace(provider="openai", model="m")
ASKED = [{"role": "user", "content": "hello"}]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Wanted(BaseModel):
    title: str


class Other(BaseModel):
    title: str
    number: int


def key(where: tuple[object, ...] = ("", 0), llm: Any = LLM, **given: Any) -> str:
    return llm_key(where, llm, {"messages": ASKED, **given})


def conversation(*ids: str) -> list[dict[str, Any]]:
    calls = [{"id": i, "function": {"name": "f", "arguments": '{"a": 1}'}} for i in ids]
    results = [{"role": "tool", "tool_call_id": i, "content": "r"} for i in ids]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def test_the_same_request_has_the_same_key() -> None:
    assert key() == key()


@pytest.mark.parametrize(
    "other",
    [
        key(("", 1)),
        key(("/tool", 0)),
        key(llm=SimpleNamespace(provider="openai", model="n")),
        key(messages=[{"role": "user", "content": "hallo"}]),
        key(messages=[{"role": "system", "content": "hello"}]),
        key(tools=[{"name": "f"}]),
        key(response_model=Wanted),
    ],
)
def test_whatever_differs_makes_another_key(other: str) -> None:
    assert other != key()


def test_answers_of_other_shapes_are_other_requests() -> None:
    assert key(response_model=Wanted) != key(response_model=Other)


def test_text_is_a_message_of_the_user() -> None:
    assert key(messages="hello") == key()


def test_ids_of_tool_calls_count_by_their_order() -> None:
    assert messages(conversation("a", "b")) == messages(conversation("x", "y"))
    swapped = conversation("a", "b")
    swapped[1], swapped[2] = swapped[2], swapped[1]
    assert messages(swapped) != messages(conversation("a", "b"))


def test_an_id_that_comes_again_is_another_call() -> None:
    once, again = conversation("a"), conversation("a")
    other = conversation("b")

    assert messages(once + again) == messages(once + other)


def test_arguments_are_the_same_as_text_and_as_object() -> None:
    text, parsed = conversation("a"), conversation("a")
    parsed[0]["tool_calls"][0]["function"]["arguments"] = {"a": 1}

    assert messages(text) == messages(parsed)


def test_the_date_that_crewai_injects_is_no_part_of_a_request() -> None:
    monday, tuesday = "Do it.\n\nCurrent Date: 2026-11-23", "Do it.\n\nCurrent Date: 2026-11-24"

    assert canonical(monday) == canonical(tuesday)
    assert canonical("order 2026-11-23") != canonical("order 2026-11-24")


def test_addresses_are_no_part_of_a_request() -> None:
    assert canonical(object()) == canonical(object())


def test_what_has_no_json_has_a_key_all_the_same() -> None:
    class Odd(BaseModel):
        what: Any

    class Called(BaseModel):
        back: Callable[[], int]

    assert canonical(Odd(what=object())) == canonical(Odd(what=object()))
    assert key(response_model=Called) != key()


@given(value=st.dictionaries(st.text(), st.integers() | st.lists(st.text(), max_size=2)))
def test_the_order_of_names_is_no_part_of_arguments(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))

    assert tool_key([], "t", value) == tool_key([], "t", turned)


@given(value=st.frozensets(st.text()))
def test_the_order_of_a_set_is_none(value: frozenset[str]) -> None:
    backwards = sorted(value, reverse=True)

    assert canonical(value) == canonical(set(backwards))


@given(value=json_values)
def test_plain_values_are_what_they_are(value: Any) -> None:
    if "Current Date: " not in str(value):
        assert canonical(value) == value
