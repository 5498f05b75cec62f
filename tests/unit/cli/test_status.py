"""status and status --follow, against a service that tells one state after the other."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typing_extensions import override

from crewstream.cli import main as cli
from crewstream.cli import workflows

TASK = {
    "task_id": "post",
    "project_id": "p",
    "agent": "",
    "attempt": 1,
    "max_attempts": 3,
    "failure": None,
    "assigned_at": "2026-01-01T00:00:00+00:00",
    "finished_at": None,
}
ASKING = {"error_type": "human.input_wanted", "message": "Writer asks what you say to this:\nBees."}
DOUBTFUL = {"error_type": "tool.unknown_outcome", "message": "Was the mail sent?"}


def state(status: str, task: str, **more: Any) -> dict[str, Any]:
    return {
        "workflow_id": "w",
        "workflow_type": "",
        "project_id": "p",
        "version": 1,
        "status": status,
        "accepted_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
        "ended_at": None,
        "faults": [],
        "failure": None,
        "notice": "",
        "after": [],
        "not_before": None,
        "admission": "unlimited",
        "tasks": [{**TASK, "status": task, **more}],
    }


@contextmanager
def telling(*states: dict[str, Any]) -> Iterator[str]:
    """A status service; the last state stays."""
    left = list(states)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str]]:
    """Exit code and output of `crewstream status w` with these options."""
    monkeypatch.setattr(workflows, "POLL_S", 0.01)

    def call(*states: dict[str, Any], options: tuple[str, ...] = ()) -> tuple[object, str]:
        with telling(*states) as url:
            monkeypatch.setenv("CREWSTREAM_STATUS_URL", url)
            monkeypatch.setattr(sys, "argv", ["crewstream", "status", "w", *options])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return ended.value.code or 0, capsys.readouterr().out

    return call


Show = Callable[..., tuple[object, str]]
PROGRESS = {
    "task": "write",
    "agent": "Writer",
    "tool": "look_up",
    "model": "m",
    "step": 3,
    "input_tokens": 12,
    "output_tokens": 7,
}


def test_the_status_says_what_runs_do(show: Show) -> None:
    code, out = show(state("running", "assigned", progress=PROGRESS))
    assert code == 0
    assert "Writer" in out
    assert "write, look_up, step 3, 12 + 7 tokens" in out


def test_what_a_crew_asks_stands_with_the_command_that_answers(show: Show) -> None:
    _, out = show(state("running", "waiting_approval", failure=ASKING))
    assert ASKING["message"] in out
    assert "(crewstream command w approve --task post --feedback …)" in out
    _, out = show(state("running", "waiting_approval", failure=DOUBTFUL))
    assert "(crewstream command w approve --task post)" in out


@pytest.mark.parametrize(("end", "code"), [("completed", 0), ("partial", 1), ("failed", 1)])
def test_who_follows_a_workflow_sees_all_and_gets_its_exit_code(
    show: Show, end: str, code: int
) -> None:
    told, out = show(
        state("running", "assigned"),
        state("running", "assigned", progress=PROGRESS),
        state("running", "waiting_approval", failure=ASKING),
        state("running", "waiting_approval", failure=ASKING),
        state(end, "succeeded"),
        options=("--follow",),
    )
    assert told == code
    assert out.splitlines() == [
        "w: running",
        "w/post (p): assigned",
        "w/post (p): assigned by Writer: write, look_up, step 3, 12 + 7 tokens",
        "w/post (p): waiting_approval",
        "Writer asks what you say to this:",
        "Bees.",
        "(crewstream command w approve --task post --feedback …)",
        f"w: {end}",
        "w/post (p): succeeded",
    ]


def test_a_program_that_follows_gets_a_document_for_each_change(show: Show) -> None:
    running = state("running", "assigned")
    code, out = show(running, running, state("failed", "failed"), options=("-f", "--json"))
    assert code == 1
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["running", "failed"]


def test_feedback_goes_with_approve_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["crewstream", "command", "w", "reject", "--task", "t", "--feedback", "x"]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "--feedback goes with approve" in capsys.readouterr().err
