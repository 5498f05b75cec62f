"""The state machine: whatever comes, in whatever order, the end is the same."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts.events import (
    Command,
    Coordination,
    Failure,
    FailurePolicy,
    Outcome,
    TaskFinished,
    TaskRequest,
    TaskState,
    TaskStatus,
    WorkflowCommanded,
    WorkflowRequested,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.domain import commands, outputs, policy, steps, workflow

AT = datetime(2026, 1, 1, tzinfo=UTC)
CLOSED = {TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED}


@st.composite
def requests(draw: st.DrawFn) -> WorkflowRequested:
    count = draw(st.integers(1, 6))
    coordination = draw(st.sampled_from(Coordination))
    explicit = coordination == Coordination.DEPENDENCIES
    tasks = tuple(
        TaskRequest(
            task_id=f"t{n}",
            crew="c",
            max_attempts=draw(st.integers(1, 3)),
            depends_on=tuple(f"t{d}" for d in draw(st.sets(st.integers(0, n - 1))))
            if explicit and n
            else (),
        )
        for n in range(count)
    )
    return WorkflowRequested(
        workflow_id="w",
        tenant_id="t",
        project_id="p",
        requested_at=AT,
        coordination=coordination,
        failure_policy=draw(st.sampled_from(FailurePolicy)),
        tasks=tasks,
    )


# What becomes of an attempt, as a function of its name: replays agree on it.
fates = st.dictionaries(
    st.tuples(st.integers(0, 5), st.integers(1, 3)),
    st.sampled_from(["ok", "fatal", "again", "asks"]),
    max_size=18,
)


def result(task: TaskState, fate: str) -> TaskFinished:
    kind = policy.INPUT_WANTED if fate == "asks" else "test.failed"
    failure = Failure(error_type=kind, retryable=fate == "again")
    return TaskFinished(
        assignment_id=policy.assignment_id("w", task.task_id, task.attempt),
        workflow_id="w",
        task_id=task.task_id,
        attempt=task.attempt,
        tenant_id="t",
        project_id="p",
        status=Outcome.SUCCEEDED if fate == "ok" else Outcome.FAILED,
        failure=None if fate == "ok" else failure,
        started_at=AT,
        finished_at=AT,
    )


class Run:
    """One workflow from its request to its end, its results in the order that `chance` gives."""

    def __init__(self, request: WorkflowRequested, fates: dict[tuple[int, int], str]) -> None:
        self.fates = fates
        self.open: list[TaskFinished] = []
        self.assigned: Counter[str] = Counter()
        self.at = AT
        self.state = workflow.accept(request, (), AT, "digest", "")
        self.follow(None)

    def follow(self, before: WorkflowState | None) -> None:
        state = self.state
        for step in steps.decide(before, state):
            if isinstance(step, steps.Assign):
                task = step.task
                by_id = {t.task_id: t for t in state.tasks}
                before_it = [by_id[name].status for name in task.depends_on]
                lenient = state.failure_policy == FailurePolicy.CONTINUE
                assert all(s in (CLOSED if lenient else {TaskStatus.SUCCEEDED}) for s in before_it)
                self.assigned[f"{task.task_id}/{task.attempt}"] += 1
                fate = self.fates.get((int(task.task_id[1:]), task.attempt), "ok")
                self.open.append(result(task, fate))

    def apply(self, event: TaskFinished | None) -> None:
        before = self.state
        if event is None:
            due = policy.next_due(before)
            assert due is not None
            self.at = max(self.at, due)
            after = workflow.fire_timer(before, due)
        else:
            after = workflow.finish_task(before, event, self.at)
        assert after is not None
        assert after.version - before.version in (0, 1)
        assert (after is before) == (after.version == before.version)
        self.state = after
        self.follow(before)

    def drain(self, chance: random.Random, *, repeat: bool) -> WorkflowState:
        done: list[TaskFinished] = []
        while not policy.is_ended(self.state.status):
            if self.open:
                event = self.open.pop(chance.randrange(len(self.open)))
                done.append(event)
                self.apply(event)
            elif not self.answer(chance, repeat=repeat):
                assert any(t.status == TaskStatus.WAITING_RETRY for t in self.state.tasks)
                self.apply(None)
            if repeat and done:
                self.apply(chance.choice(done))
        return self.state

    def answer(self, chance: random.Random, *, repeat: bool) -> bool:
        """Let a person answer a task that asks; whether there is one."""
        asking = [t for t in self.state.tasks if t.status == TaskStatus.WAITING_APPROVAL]
        if not asking:
            return False
        task = chance.choice(asking)
        name = f"{task.task_id}/{task.attempt}"
        asked = WorkflowCommanded(
            command_id=name, workflow_id="w", command=Command.APPROVE, task_id=task.task_id,
            feedback=f"to {name}", issued_at=AT,
        )  # fmt: skip
        for _ in range(1 + repeat):
            before, self.state = self.state, commands.command(self.state, asked, self.at)
            self.follow(before)
        answered = workflow.find_task(self.state, task.task_id)
        assert answered is not None
        assert answered.answers == (*task.answers, f"to {name}")
        return True


@given(requests(), fates, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_change_the_end(
    request: WorkflowRequested, fates: dict[tuple[int, int], str], chance: random.Random
) -> None:
    plain = Run(request, fates).drain(random.Random(0), repeat=False)
    other = Run(request, fates)
    mixed = other.drain(chance, repeat=True)
    if plain.failure_policy != FailurePolicy.FAIL:
        # Under `fail`, which tasks were already through when the first one failed is chance.
        assert mixed.status == plain.status
        assert [t.status for t in mixed.tasks] == [t.status for t in plain.tasks]
    assert mixed.status in {
        WorkflowStatus.COMPLETED,
        WorkflowStatus.PARTIAL,
        WorkflowStatus.FAILED,
    }
    assert set(other.assigned.values()) <= {1}


@given(requests(), fates, st.randoms(use_true_random=False))
def test_an_ended_workflow_has_no_open_task_and_a_true_verdict(
    request: WorkflowRequested, fates: dict[tuple[int, int], str], chance: random.Random
) -> None:
    state = Run(request, fates).drain(chance, repeat=False)
    statuses = {task.status for task in state.tasks}
    assert statuses <= CLOSED
    assert (state.status == WorkflowStatus.COMPLETED) == (statuses == {TaskStatus.SUCCEEDED})
    assert state.failure is not None or state.status == WorkflowStatus.COMPLETED
    assert (TaskStatus.CANCELLED in statuses) <= (state.failure_policy == FailurePolicy.FAIL)


@given(requests(), st.randoms(use_true_random=False))
def test_without_failures_every_workflow_completes_with_one_attempt_each(
    request: WorkflowRequested, chance: random.Random
) -> None:
    state = Run(request, {}).drain(chance, repeat=True)
    assert state.status == WorkflowStatus.COMPLETED
    assert all(task.attempt == 1 for task in state.tasks)


def one_task(**changes: object) -> WorkflowState:
    request = WorkflowRequested.model_validate(
        {
            "workflow_id": "w",
            "tenant_id": "t",
            "project_id": "p",
            "requested_at": AT,
            "tasks": [{"task_id": "t0", "crew": "c", **changes}],
        }
    )
    return workflow.accept(request, (), AT, "", "")


def ask(name: Command, task_id: str = "", number: int = 1, tenant: str = "t") -> WorkflowCommanded:
    return WorkflowCommanded(
        command_id=f"c{number}",
        workflow_id="w",
        tenant_id=tenant,
        command=name,
        task_id=task_id,
        issued_at=AT,
    )


def test_a_retry_waits_longer_each_time_and_no_shorter_than_the_source_asked() -> None:
    waits = [policy.backoff_s("w/t0/1", attempt, None) for attempt in (1, 2, 3)]
    assert waits == sorted(waits)
    assert policy.backoff_s("w/t0/1", 1, 99.0) == 99.0
    assert policy.backoff_s("w/t0/1", 1, None) == policy.backoff_s("w/t0/1", 1, None)


def test_an_attempt_that_nobody_ends_times_out_and_is_tried_again() -> None:
    state = one_task(timeout_s=5.0)
    assert policy.next_due(state) == AT + timedelta(seconds=5)
    late = workflow.fire_timer(state, AT + timedelta(seconds=5))
    assert late is not None
    assert late.tasks[0].status == TaskStatus.WAITING_RETRY
    assert late.tasks[0].failure == policy.TIMED_OUT
    # The first attempt's result comes after all: it is not the one that is awaited any more.
    assert workflow.finish_task(late, result(state.tasks[0], "ok"), AT) is late


def test_a_deadline_fails_the_workflow_and_cancels_what_is_open() -> None:
    state = one_task().model_copy(update={"deadline_at": AT + timedelta(seconds=1)})
    ended = workflow.fire_timer(state, AT + timedelta(seconds=1))
    assert ended is not None
    assert ended.status == WorkflowStatus.FAILED
    assert ended.version == state.version + 1
    assert ended.failure == policy.DEADLINE_PASSED
    assert ended.tasks[0].status == TaskStatus.CANCELLED


def test_a_row_is_forgotten_only_after_its_retention() -> None:
    ended = commands.command(one_task(), ask(Command.CANCEL), AT)
    assert workflow.fire_timer(ended, AT + policy.RETENTION - timedelta(seconds=1)) is ended
    assert workflow.fire_timer(ended, AT + policy.RETENTION) is None


def test_pause_holds_what_is_not_assigned_and_resume_releases_it() -> None:
    request = WorkflowRequested(
        workflow_id="w",
        tenant_id="t",
        project_id="p",
        requested_at=AT,
        coordination=Coordination.SEQUENTIAL,
        tasks=(TaskRequest(task_id="t0", crew="c"), TaskRequest(task_id="t1", crew="c")),
    )
    state = commands.command(workflow.accept(request, (), AT, "", ""), ask(Command.PAUSE), AT)
    state = workflow.finish_task(state, result(state.tasks[0], "ok"), AT)
    assert [t.status for t in state.tasks] == [TaskStatus.SUCCEEDED, TaskStatus.PENDING]
    state = commands.command(state, ask(Command.RESUME, number=2), AT)
    assert state.tasks[1].status == TaskStatus.ASSIGNED
    assert state.status == WorkflowStatus.RUNNING


def test_approval_is_waited_for_and_a_rejection_fails_the_task() -> None:
    state = one_task(requires_approval=True)
    assert state.status == WorkflowStatus.ACCEPTED
    assert state.tasks[0].status == TaskStatus.WAITING_APPROVAL
    approved = commands.command(state, ask(Command.APPROVE, "t0"), AT)
    assert approved.tasks[0].status == TaskStatus.ASSIGNED
    rejected = commands.command(state, ask(Command.REJECT, "t0"), AT)
    assert rejected.status == WorkflowStatus.FAILED
    assert rejected.failure is not None
    assert rejected.failure.error_type == "approval.rejected"


def test_retry_runs_again_what_did_not_succeed_and_keeps_the_rest() -> None:
    run = Run(
        WorkflowRequested(
            workflow_id="w",
            tenant_id="t",
            project_id="p",
            requested_at=AT,
            coordination=Coordination.SEQUENTIAL,
            failure_policy=FailurePolicy.SKIP_DEPENDANTS,
            tasks=tuple(TaskRequest(task_id=f"t{n}", crew="c") for n in range(3)),
        ),
        {(1, 1): "fatal"},
    )
    partial = run.drain(random.Random(0), repeat=False)
    assert partial.status == WorkflowStatus.PARTIAL
    assert workflow.missing(partial) == ("t1", "t2")
    run.state = commands.command(partial, ask(Command.RETRY), AT)
    run.follow(partial)
    done = run.drain(random.Random(0), repeat=False)
    assert done.status == WorkflowStatus.COMPLETED
    assert [task.attempt for task in done.tasks] == [1, 2, 1]


def test_a_command_acts_once_and_one_without_sense_says_why() -> None:
    paused = commands.command(one_task(), ask(Command.PAUSE), AT)
    assert commands.command(paused, ask(Command.PAUSE), AT) is paused
    again = commands.command(paused, ask(Command.PAUSE, number=2), AT)
    assert again.status == WorkflowStatus.PAUSED
    assert "the workflow is paused" in again.notice
    foreign = commands.command(paused, ask(Command.CANCEL, number=3, tenant="other"), AT)
    assert foreign.status == WorkflowStatus.PAUSED
    assert "another tenant" in foreign.notice


@pytest.mark.parametrize(
    ("error_type", "journals"),
    [
        ("llm.rate_limited", ["w/t0/1", "w/t0/1", "w/t0/1"]),
        ("task.timeout", ["w/t0/1", "w/t0/1", "w/t0/1"]),
        ("guardrail.failed", ["w/t0/1", "w/t0/2", "w/t0/3"]),
        ("output.invalid", ["w/t0/1", "w/t0/2", "w/t0/3"]),
    ],
)
def test_a_new_attempt_goes_on_from_what_was_paid_unless_the_answers_were_the_fault(
    error_type: str, journals: list[str]
) -> None:
    request = WorkflowRequested(
        workflow_id="w", tenant_id="t", project_id="p", requested_at=AT,
        tasks=(TaskRequest(task_id="t0", crew="c"),),
    )  # fmt: skip
    state, found = workflow.accept(request, (), AT, "", ""), []
    for attempt in (1, 2, 3):
        assigned = outputs.assigned(state, state.tasks[0], request, {}, "{}")
        found.append(assigned.journal)
        failure = Failure(error_type=error_type, retryable=True)
        result = TaskFinished.model_validate(
            assigned.model_dump(include=set(TaskFinished.model_fields))
            | {"status": Outcome.FAILED, "failure": failure, "started_at": AT, "finished_at": AT}
        )
        state = workflow.finish_task(state, result, AT)
        if attempt < 3:
            due = policy.next_due(state)
            assert due is not None
            after = workflow.fire_timer(state, due)
            assert after is not None
            state = after
    assert found == journals
    assert state.status == WorkflowStatus.FAILED
