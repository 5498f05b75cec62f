"""The locked jars: fetched once, checked always, refused when they are not the locked ones."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from crewstream.embedded.jars import Jar, fetch_jars, locked_jars
from crewstream.embedded.loopback import free_port
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = {f"part-{i}": f"jar number {i}".encode() * 1000 for i in range(12)}
JARS = tuple(
    Jar(f"org/example/{name}/1.0/{name}-1.0.jar", len(data), hashlib.sha256(data).hexdigest())
    for name, data in CONTENT.items()
)
NAMES = [f"{name}-1.0.jar" for name in CONTENT]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """A Maven repository's folder, served; jgo is pointed at it as at any mirror."""
    root = tmp_path / "repository"
    for jar in JARS:
        (root / jar.path).parent.mkdir(parents=True)
        (root / jar.path).write_bytes(CONTENT[jar.coordinates[1]])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    point_jgo_at(tmp_path, server.server_port)
    yield root
    server.shutdown()
    server.server_close()


def point_jgo_at(folder: Path, port: int) -> None:
    (folder / "jgo.conf").write_text(f"[repositories]\nmirror = http://127.0.0.1:{port}\n")


@pytest.fixture(autouse=True)
def _own_jgo_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))


def test_the_lock_names_one_kafka_release_by_hash() -> None:
    jars = locked_jars()
    assert len(jars) == 38
    assert ("org.apache.kafka", "kafka_2.13", "4.3.1") in {jar.coordinates for jar in jars}
    assert {jar.coordinates[2] for jar in jars if jar.path.startswith("org/apache/kafka/")} == {
        "4.3.1"
    }
    assert {len(jar.sha256) for jar in jars} == {64}


@pytest.mark.usefixtures("repository")
def test_missing_jars_are_fetched_in_the_locks_order_and_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = fetch_jars(tmp_path / "cache", jars=JARS, progress=lambda *at: told.append(at))
    assert [path.name for path in found] == NAMES
    assert [path.read_bytes() for path in found] == list(CONTENT.values())
    assert told == [(done, 12) for done in range(1, 13)] + [(12, 12)]


def test_jars_in_the_cache_need_no_network(tmp_path: Path, repository: Path) -> None:
    fetch_jars(tmp_path / "cache", jars=JARS)
    for served in repository.rglob("*.jar"):
        served.unlink()
    assert len(fetch_jars(tmp_path / "cache", jars=JARS)) == 12


def test_what_a_killed_fetch_left_behind_is_not_used(tmp_path: Path, repository: Path) -> None:
    half = tmp_path / "cache" / "jars" / ".incoming" / JARS[0].path
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half a j")
    assert fetch_jars(tmp_path / "cache", jars=JARS)[0].read_bytes() == CONTENT["part-0"]
    assert repository.exists()


def test_a_tampered_jar_in_the_cache_is_refused(tmp_path: Path, repository: Path) -> None:
    victim = fetch_jars(tmp_path / "cache", jars=JARS)[3]
    victim.write_bytes(victim.read_bytes().replace(b"3", b"X"))
    with pytest.raises(StartFailed, match=rf"{victim} is not the locked jar .* delete it"):
        fetch_jars(tmp_path / "cache", jars=JARS)
    victim.unlink()
    assert fetch_jars(tmp_path / "cache", jars=JARS)[3].read_bytes() == CONTENT["part-3"]
    assert repository.exists()


def test_a_tampered_jar_from_the_repository_is_refused_and_not_kept(
    tmp_path: Path, repository: Path
) -> None:
    (repository / JARS[5].path).write_bytes(b"something else")
    with pytest.raises(StartFailed, match=r"part-5-1.0.jar as fetched is not the locked jar"):
        fetch_jars(tmp_path / "cache", jars=JARS)
    assert not (tmp_path / "cache" / "jars" / "part-5-1.0.jar").exists()
    (repository / JARS[5].path).write_bytes(CONTENT["part-5"])
    assert len(fetch_jars(tmp_path / "cache", jars=JARS)) == 12


def test_without_a_network_the_first_start_says_so(tmp_path: Path) -> None:
    point_jgo_at(tmp_path, free_port())
    with pytest.raises(
        StartFailed, match=r"could not be fetched .* the first start needs a network"
    ):
        fetch_jars(tmp_path / "cache", jars=JARS[:2])


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(StartFailed, match=f"the cache folder {tmp_path / 'cache' / 'jars'} cannot"):
        fetch_jars(tmp_path / "cache", jars=JARS)


def test_two_processes_may_fill_one_cache(tmp_path: Path, repository: Path) -> None:
    program = (
        "import sys, pathlib; from crewstream.embedded.jars import Jar, fetch_jars\n"
        f"fetch_jars(pathlib.Path(sys.argv[1]), jars={JARS!r})"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "cache")]) for _ in range(2)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "cache" / "jars").glob("*.jar")) == sorted(
        NAMES
    )
    assert repository.exists()
