"""What a project's crews are: from yaml where that says all, else from a process that makes them.

Imports no crewai. What was asked is kept until a file of the project changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from crewstream_agents import conventions, sources
from crewstream_agents.forced import FORCED_ENVIRONMENT, TAKEN_ENVIRONMENT
from crewstream_agents.project import Finding, InvalidProject, Project
from crewstream_agents.spec import CrewDescription, ProjectDescription

logger = logging.getLogger(__name__)

INSPECT_WITHIN_S: Final = 180.0
"""For `import crewai`, which takes seconds, and for what the project does while it is imported."""

LAST_WORDS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a project's crews are, as far as they can be made, and what there is to know."""

    crews: Sequence[CrewDescription]
    findings: Sequence[Finding] = ()

    @property
    def problems(self) -> Sequence[Finding]:
        return [each for each in self.findings if each.level == "problem"]


def describe(project: Project, cache: Path, environ: Mapping[str, str]) -> ProjectDescription:
    """What workers can run of a project; a crew that cannot be made is left out, and told.

    Raises InvalidProject when its yaml cannot be read, or the process that makes crews fails.
    """
    if conventions.tells_all(project):
        return conventions.describe(project)
    kept = cache / f"{project.project_id}-{_fingerprint(project)}.json"
    crews = _kept(kept)
    if crews is None:
        found = inspect(project, environ)
        for problem in found.problems:
            logger.error("project %s, %s: %s", project.project_id, problem.where, problem.message)
        crews = found.crews
        if not found.problems:
            keep(project, cache, crews)
    conventions.check_agents(project, crews)
    return ProjectDescription(project.project_id, project.title, crews)


def inspect(project: Project, environ: Mapping[str, str]) -> Inspection:
    """Make the crews of a project in a process with this environment, and look at them.

    Raises InvalidProject when that process fails, with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="crewstream-inspect-") as folder:
        out = Path(folder, "found.json")
        said = _run(project, environ, folder, out)
        if out.exists():
            return TypeAdapter(Inspection).validate_json(out.read_bytes())
    raise InvalidProject(f"the crews of project {project.project_id!r} cannot be made: {said}")


def keep(project: Project, cache: Path, crews: Sequence[CrewDescription]) -> None:
    """Keep what a project's crews are, until a file of it changes; a full disk is no failure."""
    path = cache / f"{project.project_id}-{_fingerprint(project)}.json"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(f"{project.project_id}-{'?' * 16}.json"):
            old.unlink()
        path.write_bytes(TypeAdapter(list[CrewDescription]).dump_json(list(crews)))


def _kept(path: Path) -> Sequence[CrewDescription] | None:
    try:
        content = path.read_bytes()
        return TypeAdapter(list[CrewDescription]).validate_json(content)
    except (OSError, ValidationError):
        return None


def _run(project: Project, environ: Mapping[str, str], folder: str, out: Path) -> str:
    """Run the process; what it said last."""
    theirs = {name: value for name, value in environ.items() if name not in TAKEN_ENVIRONMENT}
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-P", "-W", "ignore", "-m", "crewstream_agents.inspection", str(out)],
            input=TypeAdapter(Project).dump_json(project),
            env={**theirs, **FORCED_ENVIRONMENT, "CREWAI_STORAGE_DIR": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSPECT_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"making them took more than {INSPECT_WITHIN_S:g} s"
    return done.stdout.decode(errors="replace")[-LAST_WORDS:].strip()


def _fingerprint(project: Project) -> str:
    """What changes when a file of the project does, or the CrewAI that makes its crews."""
    told = [repr(project), version("crewai"), version("crewstream")]
    for path in _files(project):
        stat = path.stat()
        told.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _files(project: Project) -> Iterator[Path]:
    folders = {Path(project.folder)} if project.folder else set(_module_folders(project))
    for folder in sorted(folders):
        if folder.is_dir():
            yield from sources.files(folder)


def _module_folders(project: Project) -> Iterator[Path]:
    for target in project.crews.values():
        with contextlib.suppress(InvalidProject):
            yield conventions.module_folder(target.partition(":")[0], target)
