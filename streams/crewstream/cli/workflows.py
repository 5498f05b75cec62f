"""submit, status, list, command: what people do with workflows."""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson
from crewstream.errors import CrewstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from crewstream.client import Client
    from crewstream.config import Settings
    from crewstream.contracts.events import WorkflowFinished

app = typer.Typer()
PANEL = "Workflows"
POLL_S = 0.5
INPUT_WANTED = "human.input_wanted"
ENDED = {"completed", "partial", "failed", "cancelled", "rejected"}

WorkflowId = Annotated[str, typer.Argument(metavar="ID", help="The workflow's id.")]
Tenant = Annotated[str | None, typer.Option(help="Tenant to act for, instead of the setting's.")]


class Command(StrEnum):
    """What can be asked of a workflow under way."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    APPROVE = "approve"
    REJECT = "reject"


@app.command(rich_help_panel=PANEL)
def submit(
    file: Annotated[typer.FileText, typer.Argument(help="A request as JSON; - reads stdin.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and show it.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Submit a request: the event's own form, or that of the example files.

    With --wait the exit code is 0 only when the workflow completed.
    """
    settings = shell.begin(tenant=tenant)
    finished = shell.run(_submit(settings, document(file), timeout, wait=wait, as_json=as_json))
    if finished is not None and finished.status != "completed":
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def status(
    workflow_id: WorkflowId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a workflow is; exit code 1 when nobody knows it.

    With --follow until it has ended, and the exit code is 0 only when it completed.
    """
    settings = shell.begin()
    if follow:
        ended = shell.run(_follow(settings, workflow_id, as_json=as_json))
        raise typer.Exit(ended != "completed")
    state = shell.run(_known(shell.client(settings), workflow_id))
    if as_json:
        shell.write_json(state)
    else:
        _show_status(state)


@app.command("list", rich_help_panel=PANEL)
def list_(
    *,
    project: Annotated[str, typer.Option(help="Only this project's.")] = "",
    status: Annotated[str, typer.Option(help="Only those in this status.")] = "",
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="As many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List workflows, newest first."""
    client = shell.client(shell.begin())
    wanted = {"project": project, "status": status, "tenant": tenant}
    found = shell.run(client.list(**wanted, limit=limit))
    columns = ("workflow_id", "status", "project_id", "tenant_id", "accepted_at", "updated_at")
    shell.write_rows(found, columns, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def command(
    workflow_id: WorkflowId,
    what: Annotated[Command, typer.Argument(help="What to do.")],
    *,
    task: Annotated[str, typer.Option(help="The task to approve or reject.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    feedback: Annotated[
        str, typer.Option(help="With approve: what you say to a crew that asks; empty: it is good.")
    ] = "",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Pause, resume, cancel, retry, approve or reject a workflow under way."""
    if feedback and what is not Command.APPROVE:
        raise typer.BadParameter(f"--feedback goes with approve; {what.value} takes a --reason")
    settings = shell.begin(tenant=tenant)

    async def send() -> str:
        async with shell.client(settings) as client:
            return await client.command(
                workflow_id, what.value, task_id=task, reason=reason, feedback=feedback
            )

    command_id = shell.run(send())
    if as_json:
        shell.write_json({"command_id": command_id, "workflow_id": workflow_id})
    else:
        print(f"{what.value} sent to {workflow_id}")


def show_result(finished: WorkflowFinished) -> None:
    """A result as people read it: the verdict, then each task's output."""
    took = f"{finished.duration_ms / 1000:.1f} s"
    print(f"{finished.workflow_id}: {finished.status.value} in {took}")
    for fault in finished.faults:
        print(f"  {fault.path}: {fault.message} ({fault.code})")
    if finished.failure is not None:
        print(f"  {finished.failure.error_type}: {finished.failure.message}")
    for task in finished.tasks:
        print(f"\n{task.task_id} ({task.agent or task.crew}): {task.status.value}")
        print(task.output if task.failure is None else task.failure.message)


def document(file: typer.FileText) -> Mapping[str, object]:
    """The JSON object in a file that was named on the command line."""
    try:
        found: Any = json.load(file)
    except ValueError as error:
        raise typer.BadParameter(f"{file.name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{file.name} holds no JSON object")
    return found


async def _submit(
    settings: Settings,
    document: Mapping[str, object],
    timeout_s: float | None,
    *,
    wait: bool,
    as_json: bool,
) -> WorkflowFinished | None:
    async with shell.client(settings) as client:
        handle = await client.submit(document)
        if not wait:
            if as_json:
                shell.write_json({"workflow_id": handle.workflow_id, "project_id": handle.project})
            else:
                print(handle.workflow_id)
            return None
        try:
            finished = await handle.result(timeout_s)
        except TimeoutError:
            raise CrewstreamError(
                f"{handle.workflow_id} has not ended within {timeout_s:g} s; it goes on, see "
                f"`crewstream status {handle.workflow_id}`"
            ) from None
    if as_json:
        shell.write_json(finished.model_dump(mode="json"))
    else:
        show_result(finished)
    return finished


async def _known(client: Client, workflow_id: str) -> Mapping[str, Any]:
    state = await client.status(workflow_id)
    if state is None:
        raise CrewstreamError(
            f"no workflow {workflow_id!r}; it may not have been accepted yet, or it ended more "
            "than a week ago"
        )
    return state


async def _follow(settings: Settings, workflow_id: str, *, as_json: bool) -> str:
    """Show a workflow until it has ended; how it did."""
    from rich.console import Console  # noqa: PLC0415  --help must not wait for it

    from crewstream.cli.board import Board  # noqa: PLC0415

    client, seen = shell.client(settings), dict[str, Any]()
    with Board(Console(quiet=as_json)) as board:
        while True:
            state = await _known(client, workflow_id)
            if state != seen and as_json:
                shell.write_json(state)
            else:
                board.see(state)
                for question in _questions(state):
                    if question not in _questions(seen):
                        board.say(question)
            if state["status"] in ENDED:
                break
            seen = dict(state)
            await asyncio.sleep(POLL_S)
    if not as_json:
        _show_why(state)
    return str(state["status"])


def _questions(state: Mapping[str, Any]) -> list[str]:
    """What crews ask, and how to answer."""
    from crewstream.cli.board import asks  # noqa: PLC0415  --help must not wait for rich

    return [
        f"{asks(task)}\n({_answer(state['workflow_id'], task)})"
        for task in state.get("tasks", ())
        if asks(task)
    ]


def _answer(workflow_id: str, task: Mapping[str, Any]) -> str:
    crew_asks = task["failure"]["error_type"] == INPUT_WANTED
    feedback = " --feedback …" if crew_asks else ""
    return f"crewstream command {workflow_id} approve --task {task['task_id']}{feedback}"


def _waits_for(state: Mapping[str, Any]) -> Iterator[str]:
    """Why a workflow has not started yet, in words."""
    if state["status"] != "accepted":
        return
    for each in state["after"]:
        if each["status"] == "unknown":
            yield f"workflow {each['workflow_id']} ({each['required']})"
    if state["not_before"] and state["updated_at"] < state["not_before"]:
        yield f"its time, {state['not_before']}"
    if state["admission"] == "waiting":
        yield "a place in its tenant's limits"


def _show_why(state: Mapping[str, Any]) -> None:
    """What is wrong with a workflow, or keeps it from starting."""
    for fault in state["faults"]:
        print(f"  {fault['path']}: {fault['message']} ({fault['code']})")
    if failure := state["failure"]:
        print(f"  {failure['message']} ({failure['error_type']})")
    if state["notice"]:
        print(f"  {state['notice']}")
    for reason in _waits_for(state):
        print(f"  waits for {reason}")


def _show_status(state: Mapping[str, Any]) -> None:
    from crewstream.cli.board import agent_of, asks, doing  # noqa: PLC0415  as above

    print(f"{state['workflow_id']}: {state['status']} (version {state['version']})")
    _show_why(state)
    rows = [
        (
            task["task_id"],
            task["status"],
            f"{task['attempt']}/{task['max_attempts']}",
            task["project_id"],
            agent_of(task),
            doing(task),
            "" if asks(task) else (task["failure"] or {}).get("message", ""),
        )
        for task in state["tasks"]
    ]
    shell.write_table(("task", "status", "attempt", "project", "agent", "now", "failure"), rows)
    for question in _questions(state):
        print(f"\n{question}")
