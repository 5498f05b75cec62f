"""Our own processes: leashed, logged, stopped with grace; and the claim on a folder."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crewstream.embedded import leash
from crewstream.embedded.owned import OwnedProcess, await_ready, claimed, spawn, trim_log
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPER


def run(program: str, log_file: Path, **options: object) -> OwnedProcess:
    return spawn("child", [sys.executable, "-c", program], log_file=log_file, **options)  # type: ignore[arg-type]  # forwarded


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "child.log"


def is_up(process: OwnedProcess) -> Callable[[], bool]:
    return lambda: "up" in process.log()


def test_a_process_ends_with_its_code_and_its_output_is_kept(log_file: Path) -> None:
    program = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"
    process = run(program, log_file)
    assert process.ended.result(20) == 3
    assert not process.running
    assert sorted(process.log().split()) == ["one", "two"]


def test_a_second_start_appends_but_speaks_only_its_own_words(log_file: Path) -> None:
    run("print('first')", log_file).ended.result(20)
    second = run("print('second')", log_file)
    second.ended.result(20)
    assert log_file.read_text() == "first\nsecond\n"
    assert second.log() == "second\n"
    assert second.last_words() == "    second"


def test_the_environment_and_the_folder_are_the_ones_given(log_file: Path, tmp_path: Path) -> None:
    program = "import os; print(os.environ['COLOUR'], os.getcwd())"
    process = run(program, log_file, env={"COLOUR": "blue"}, cwd=tmp_path)
    assert process.ended.result(20) == 0, process.log()
    assert process.log() == f"blue {tmp_path}\n"


def test_stop_is_sigterm_and_after_the_grace_time_sigkill(log_file: Path) -> None:
    gentle = run(SLEEPER, log_file)
    await_ready(gentle, is_up(gentle), 20)
    assert gentle.stop(grace_s=20) == -signal.SIGTERM
    deaf = run(DEAF, log_file)
    await_ready(deaf, is_up(deaf), 20)
    assert deaf.stop(grace_s=0.1) == -signal.SIGKILL
    assert deaf.stop(grace_s=0.1) == -signal.SIGKILL  # once more does no harm


def test_what_a_process_started_goes_with_it(
    log_file: Path, eventually: Callable[..., None], is_gone: Callable[[int], bool]
) -> None:
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('up', child.pid, flush=True); time.sleep(60)"
    )
    process = run(program, log_file)
    await_ready(process, is_up(process), 20)
    grandchild = int(process.log().split()[1])
    process.kill()
    eventually(lambda: is_gone(grandchild))


def test_a_program_that_is_not_there_ends_and_says_why(log_file: Path) -> None:
    process = spawn("ghost", ["no-such-program"], log_file=log_file)
    with pytest.raises(
        StartFailed,
        match=r"(?s)ghost ended with exit code 1; .*no-such-program could not be run: No such",
    ):
        await_ready(process, lambda: False, 20)


def test_a_folder_that_is_not_there_is_a_clear_failure(log_file: Path, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"child could not be started: .*nowhere"):
        run(SLEEPER, log_file, cwd=tmp_path / "nowhere")


def test_a_process_that_does_not_get_ready_is_stopped(log_file: Path) -> None:
    process = run(SLEEPER, log_file)
    await_ready(process, is_up(process), 20)
    with pytest.raises(
        StartFailed, match=r"(?s)child did not get ready in time .*child.log .*    up"
    ):
        await_ready(process, lambda: False, 0.1)
    assert not process.running


PARENT = """
import sys, threading, pathlib
from crewstream.embedded.owned import spawn
def start():
    argv = [sys.executable, "-c", sys.argv[1]]
    process = spawn("child", argv, log_file=pathlib.Path(sys.argv[2]))
    print(process.pid, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
sys.stdin.read()
"""


def test_a_killed_parent_takes_even_a_deaf_child_along_but_an_ended_thread_does_not(
    log_file: Path, eventually: Callable[..., None], is_gone: Callable[[int], bool]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, DEAF, str(log_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        eventually(lambda: log_file.exists() and "up" in log_file.read_text())
        assert not is_gone(child)  # the thread that asked for it has ended
        parent.kill()
    eventually(lambda: is_gone(child))


def test_without_the_kernels_help_a_watcher_does_the_same(
    log_file: Path, eventually: Callable[..., None], is_gone: Callable[[int], bool]
) -> None:
    folder = str(Path(leash.__file__).parent)
    child = f"import sys, os, time; sys.path.insert(0, {folder!r}); import leash\n"
    child += "leash.watch(os.getppid(), 0.02); print(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    log_file.parent.mkdir()
    with (
        log_file.open("wb") as out,
        subprocess.Popen([sys.executable, "-c", parent], stdout=out) as process,
    ):
        eventually(lambda: bool(log_file.read_text().strip()))
        owned = int(log_file.read_text())
        assert not is_gone(owned)
        process.kill()
    eventually(lambda: is_gone(owned))


def test_a_leash_to_a_parent_that_is_gone_already_ends_the_process() -> None:
    argv = [sys.executable, "-IS", leash.__file__, "999999999", sys.executable, "-c", SLEEPER]
    assert subprocess.run(argv, check=False, timeout=20).returncode == 1


def test_a_folder_belongs_to_one_instance_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crewstream.embedded.owned.CLAIM_WAIT_S", 0.1)
    folder = tmp_path / "data"
    refused = pytest.raises(StartFailed, match=f"the data folder {folder} is in use by another")
    with claimed(folder), refused, claimed(folder):
        pass
    with claimed(folder):
        assert oct(folder.stat().st_mode)[-3:] == "700"


def test_a_process_that_inherits_the_claim_keeps_it_until_it_is_killed(
    tmp_path: Path, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crewstream.embedded.owned.CLAIM_WAIT_S", 0.1)
    with claimed(tmp_path) as claim:
        process = run(SLEEPER, log_file, inherit=[claim])
    with pytest.raises(StartFailed, match="in use"), claimed(tmp_path):
        pass
    process.kill()
    with claimed(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "data"
    with (
        pytest.raises(StartFailed, match=f"the data folder {inside} cannot be used"),
        claimed(inside),
    ):
        pass


def test_a_long_log_is_moved_aside_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100)
        trim_log(log, limit=100)
        assert log.stat().st_size == 100
        trim_log(log, limit=99)
        writer.write(b"b")
    assert log.read_bytes() == b"b"
    assert (tmp_path / "x.log.1").read_bytes() == b"a" * 100
