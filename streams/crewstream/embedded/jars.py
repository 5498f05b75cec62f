"""Exactly the locked Kafka jars, through jgo, checked by SHA-256."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crewstream.errors import StartFailed

LOCK_FILE = Path(__file__).with_name("kafka.lock")
FETCH_TIMEOUT_S = 60
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock: where Maven has it, its size in bytes, and its SHA-256 in hex."""

    path: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        return self.path.rsplit("/", 1)[1]

    @property
    def coordinates(self) -> tuple[str, str, str]:
        """Group, artifact and version."""
        *group, artifact, version, _ = self.path.split("/")
        return ".".join(group), artifact, version


def locked_jars() -> tuple[Jar, ...]:
    """The jars of the lock file."""
    lines = [line.split() for line in LOCK_FILE.read_text().splitlines() if line[:1] != "#"]
    return tuple(Jar(path, int(size), sha256) for path, size, sha256 in lines)


def lock_digest() -> str:
    """A short name for this exact set of jars."""
    return hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()[:16]


def fetch_jars(
    cache_dir: Path, *, jars: tuple[Jar, ...] | None = None, progress: Progress | None = None
) -> tuple[Path, ...]:
    """The locked jars, in the lock's order, from `cache_dir`; what is missing is fetched.

    `progress` is called with (done, total) as jars become available. Several processes may share
    the cache: the first one fetches, the others wait. Raises StartFailed when a jar is not to be
    had, is not the locked one, or cannot be written.
    """
    wanted = locked_jars() if jars is None else jars
    folder = cache_dir / "jars"
    missing = [jar for jar in wanted if not _is_cached(folder, jar)]
    if missing:
        with only_one(folder / ".lock"):
            missing = [jar for jar in missing if not _is_cached(folder, jar)]
            _fetch_all(missing, folder, len(wanted), progress)
    if progress:
        progress(len(wanted), len(wanted))
    return tuple(folder / jar.filename for jar in wanted)


def _is_cached(folder: Path, jar: Jar) -> bool:
    """Whether the jar is there; StartFailed when it is there but is not the locked one."""
    cached = folder / jar.filename
    if not cached.exists():
        return False
    if _sha256(cached) != jar.sha256:
        raise StartFailed(
            f"{cached} is not the locked jar (its SHA-256 differs): "
            "delete it and start again, it will be fetched anew"
        )
    return True


def _fetch_all(jars: list[Jar], folder: Path, total: int, progress: Progress | None) -> None:
    done = total - len(jars)
    incoming = folder / ".incoming"
    # jgo writes to the final name at once: what a killed process left there may be half a jar.
    shutil.rmtree(incoming, ignore_errors=True)
    with ThreadPoolExecutor(8) as pool:
        for fetched in as_completed([pool.submit(_fetch, jar, folder, incoming) for jar in jars]):
            fetched.result()
            done += 1
            if progress:
                progress(done, total)
    shutil.rmtree(incoming, ignore_errors=True)


def _fetch(jar: Jar, folder: Path, incoming: Path) -> None:
    # Imported late: it brings an HTTP client, and a warm start needs none.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    # Our hash decides; jgo's own note about a checksum would only double the message.
    logging.getLogger("jgo").setLevel(logging.ERROR)
    group, artifact, version = jar.coordinates
    try:
        # jgo's own configuration file may name a mirror; None means Maven Central.
        mirrors = GlobalSettings.load().repositories or None
        maven = MavenContext(
            repo_cache=incoming, local_repos=[], remote_repos=mirrors, timeout=FETCH_TIMEOUT_S
        )
        found = Path(maven.project(group, artifact).at_version(version).artifact().resolve())
        digest = _sha256(found)
    except Exception as error:
        raise StartFailed(
            f"{jar.filename}, a part of Kafka, could not be fetched into {folder}: "
            f"{_cause(error)}; the first start needs a network, later ones do not"
        ) from error
    if digest != jar.sha256:
        raise StartFailed(
            f"{jar.filename} as fetched is not the locked jar (its SHA-256 differs); it was thrown "
            "away. Start again; if it stays so, the repository or a proxy serves another file"
        )
    found.replace(folder / jar.filename)


def _cause(error: Exception) -> str:
    """The beginning of what went wrong: an HTTP client says a lot."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def only_one(lock_file: Path) -> Iterator[None]:
    """Across processes: one at a time in this block. StartFailed when the file cannot be made."""
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_file.open("w")
    except OSError as error:
        raise StartFailed(f"the cache folder {lock_file.parent} cannot be used: {error}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
