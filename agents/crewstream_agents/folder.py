"""The folder of a run: made when it is first written to, removed with the run."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from crewstream_agents.spec import WrittenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

MOST_TOLD: Final = 100
"""Files of a run that its outcome names; more than a person reads help nobody."""

LONGEST_VALUE: Final = 80
"""Characters of an input that become part of a file's name."""

_current: ContextVar[Folder | None] = ContextVar("crewstream_run_folder", default=None)
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_UNSAFE: Final = re.compile(r"[^\w .()+-]")


class OutsideFolder(ValueError):
    """A path leads out of the folder of the run."""


def run_folder() -> Path:
    """Where a tool of the present run may write. What is there is gone when the run has ended.

    Raises LookupError outside of a run.
    """
    folder = _current.get()
    if folder is None:
        raise LookupError("there is no run here, so it has no folder")
    return folder.path()


class Folder:
    """A run's own folder. `shared`: it is the runner's, which has this run only."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path, self._shared = path, shared

    @classmethod
    def of_run(cls, assignment_id: str, below: Path | None = None) -> Folder:
        """The folder of a run, below that for temporary files unless said otherwise."""
        name = hashlib.sha256(assignment_id.encode("utf-8", "replace")).hexdigest()[:24]
        return cls((below or Path(tempfile.gettempdir())) / f"run-{name}")

    def enter(self) -> None:
        """From here on, in every thread and task that is started, it is the present run's."""
        _current.set(self)

    def path(self) -> Path:
        """The folder, made if need be."""
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def place(self, name: str) -> Path:
        """Where a file of this name goes, its folders made. Raises OutsideFolder."""
        check(name)
        place = self.path() / PurePosixPath(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        # A tool of the run may have put a link there.
        if not place.resolve().is_relative_to(self._path.resolve()):
            raise OutsideFolder(f"{name!r} leads out of the folder of the run")
        return place

    def written(self) -> Sequence[WrittenFile]:
        """The files that are there, by name."""
        if not self._path.is_dir():
            return ()
        found = [path for path in self._path.rglob("*") if path.is_file() and not path.is_symlink()]
        return [
            WrittenFile(str(path.relative_to(self._path)), path.stat().st_size)
            for path in sorted(found)[:MOST_TOLD]
        ]

    def remove(self) -> None:
        """Delete it with all that is in it; one that is shared goes with its runner."""
        if not self._shared:
            shutil.rmtree(self._path, ignore_errors=True)


def check(name: str) -> None:
    """Raises OutsideFolder: a file of this name would not be in the folder it is for."""
    path = PurePosixPath(name)
    if not name or "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts:
        raise OutsideFolder(
            f"{name!r} is no path below the folder of a run: write it relative, and without '..'"
        )


def filled(template: str, inputs: Mapping[str, object]) -> str:
    """An `output_file` with its `{names}` filled; no value becomes more than a part of a name."""

    def part(match: re.Match[str]) -> str:
        value = _UNSAFE.sub("_", str(inputs.get(match[1], "")))[:LONGEST_VALUE]
        return value.strip(". ") or "_"

    return _PLACEHOLDER.sub(part, template)


def redirect(tasks: Iterable[Any], folder: Folder) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Have the `output_file` of a crew's tasks written into a run's folder.

    What is returned has to see the inputs last before CrewAI does, and gives them back unchanged.
    """
    wanted = [(task, task.output_file) for task in tasks if task.output_file]
    for task, _ in wanted:
        task.output_file = None

    def place(inputs: dict[str, Any]) -> dict[str, Any]:
        for task, template in wanted:
            task.output_file = str(folder.place(filled(template, inputs)))
        return inputs

    return place
