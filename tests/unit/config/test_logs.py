"""Logs: one line an event, with its ids."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from crewstream import logs

log = logging.getLogger("crewstream.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], _ = before
    root.setLevel(before[1])
    logging.captureWarnings(capture=False)


def test_json_lines_carry_ids_and_fields() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    with logs.about(workflow_id="w", tenant_id="t", task_id=""):
        log.info("task %s done", "a", extra={"took_s": 2})
    line = json.loads(out.getvalue())
    assert (line["event"], line["workflow_id"], line["tenant_id"]) == ("task a done", "w", "t")
    assert (line["took_s"], line["level"], "task_id" in line) == (2, "info", False)


async def test_ids_stay_with_their_task() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)

    async def work(name: str) -> None:
        with logs.about(task_id=name):
            await asyncio.sleep(0)
            log.info(name)

    await asyncio.gather(*(work(name) for name in "abc"))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert all(line["task_id"] == line["event"] for line in lines)
    assert len(lines) == 3


def test_an_exception_is_one_line_of_json_without_the_values_of_variables() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    password = "hunter" + str(2)
    try:
        int("wrong")
    except ValueError:
        log.exception("failed")
    [line] = out.getvalue().splitlines()
    assert "ValueError: invalid" in json.loads(line)["exception"]
    assert password not in line


def test_what_is_no_terminal_gets_json_and_console_is_readable() -> None:
    out = io.StringIO()
    logs.configure("auto", stream=out)
    log.info("hello")
    assert json.loads(out.getvalue())["event"] == "hello"
    out.truncate(0)
    logs.configure("console", stream=out)
    log.info("hello", extra={"n": 1})
    assert "hello" in out.getvalue()
    assert "n=1" in out.getvalue()


@pytest.mark.parametrize(("libraries", "lines"), [("warning", 1), ("critical", 0)])
def test_libraries_are_quiet(libraries: str, lines: int) -> None:
    out = io.StringIO()
    logs.configure("json", libraries=libraries, stream=out)
    noisy = logging.getLogger("aiokafka.consumer")
    noisy.setLevel(logging.DEBUG)
    noisy.info("Updated assignment")
    noisy.warning("Heartbeat failed")
    assert len(out.getvalue().splitlines()) == lines


def test_a_library_that_says_the_same_again_and_again_is_heard_once_in_a_while() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    library = logging.getLogger("aiokafka.conn")
    for attempt in range(50):
        library.error("Unable connect to node %s", attempt)
        log.info("ours %s", attempt)
    library.error("another thing")
    said = [json.loads(line)["logger"] for line in out.getvalue().splitlines()]
    assert said.count("aiokafka.conn") == 2
    assert said.count("crewstream.test") == 50
