"""Keeps the modules of projects apart that share names: two of them may have a package `tools`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib import invalidate_caches
from pathlib import Path
from types import ModuleType

_loaded: dict[tuple[str, ...], dict[str, ModuleType]] = {}
"""The modules that each project has brought, by its import path."""


@contextlib.contextmanager
def importable(paths: Sequence[str], late: Sequence[str] = ()) -> Iterator[None]:
    """Import from `paths` first, from `late` last, and from no other project in their place.

    Afterwards the folders stay at the end of the import path, for what is imported in functions; of
    two modules with one name such an import finds the one that was loaded last.
    """
    if not paths:
        yield
        return
    key = (*paths, *late)
    _step_aside(key)
    sys.modules.update(_loaded.get(key, {}))
    before = list(sys.path)
    sys.path[:] = [*paths, *before, *late]
    invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [*before, *(path for path in key if path not in before)]
        _loaded[key] = {**_loaded.get(key, {}), **_from(key)}


def _step_aside(key: tuple[str, ...]) -> None:
    """Take other projects' modules out of sight whose first name exists in these folders."""
    provided = {entry.stem for path in key for entry in Path(path).glob("*")}
    for other, modules in _loaded.items():
        if other == key:
            continue
        for name in modules:
            if name.partition(".")[0] in provided:
                sys.modules.pop(name, None)


def _from(paths: Sequence[str]) -> dict[str, ModuleType]:
    return {
        name: module
        for name, module in list(sys.modules.items())
        if any(_lies_in(module, path) for path in paths)
    }


def _lies_in(module: ModuleType, folder: str) -> bool:
    places = [getattr(module, "__file__", None), *_package_places(module)]
    return any(str(place).startswith(f"{folder}/") for place in places if place)


def _package_places(module: ModuleType) -> list[str]:
    """A folder without `__init__.py` is a package as well; it has places, and no file."""
    try:
        return [str(place) for place in getattr(module, "__path__", ())]
    except (KeyError, TypeError):  # one whose parent was taken out of sight
        return []
