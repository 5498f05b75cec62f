"""Finds what a folder or module holds that can be run, from its files: nothing of it is run."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from crewstream_agents.project import DEFINITIONS, InvalidProject, Project

SKIPPED: Final = frozenset(
    {"tests", "test", "venv", "env", "node_modules", "build", "dist", "site-packages"}
)
"""Folders that hold no crews of the project's own, beside those whose name begins with a dot."""

DEFINED: Final = ("crew.jsonc", "crew.json", "flow.yaml", "flow.yml")
"""The names that CrewAI gives a definition that stands at the top of a project."""

TELLING: Final = frozenset({".py", ".toml", *DEFINITIONS})
"""The files that say what a crew is; data of a project may be any number of others."""

KICKOFFS: Final = frozenset({"kickoff", "kickoff_async", "kickoff_for_each", "akickoff"})

MOST_FILES: Final = 2_000
"""More of them is no project but somebody's home."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that can be run: `kind` is crew, flow or function, `target` as Project has it."""

    name: str
    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a project's code lies: `root` is what its modules' names begin at."""

    folder: Path
    root: Path
    about: Mapping[str, Any] = field(default_factory=dict)


def detect(
    source: str, *, crews: Mapping[str, str] | None = None, project_id: str = "", title: str = ""
) -> Project:
    """The project of a folder, of a crew.jsonc or flow.yaml, of a module, or of `module:name`.

    `crews` are targets that are named by hand, instead of those that would be found. Raises
    InvalidProject when there is nothing to run.
    """
    if source.endswith(DEFINITIONS) and Path(source).is_file():
        return _of_file(Path(source).resolve(), project_id, title)
    if Path(source).is_dir():
        return _of_folder(_layout(Path(source).resolve()), crews, project_id, title)
    return _of_module(source, crews, project_id, title)


def files(folder: Path) -> Iterator[Path]:
    """A project's own code and definitions, by name. Raises InvalidProject for too many."""
    telling = (path for path in _walk(folder) if path.suffix in TELLING)
    for number, path in enumerate(telling, start=1):
        if number > MOST_FILES:
            raise InvalidProject(
                f"{folder} has more than {MOST_FILES} files: name the folder of the project itself"
            )
        yield path


def _of_file(path: Path, project_id: str, title: str) -> Project:
    folder = path.parent
    name = identifier(folder.name if path.name in DEFINED else path.stem)
    return Project(
        project_id=project_id or _slug(name),
        title=title or _title(name),
        crews={name: path.name},
        folder=str(folder),
        paths=[str(folder)],
    )


def _of_folder(
    layout: _Layout, crews: Mapping[str, str] | None, project_id: str, title: str
) -> Project:
    name = str(layout.about.get("project", {}).get("name") or layout.folder.name)
    found = crews or {each.name: each.target for each in _named(_in_folder(layout, name))}
    if not found:
        raise InvalidProject(
            f"{layout.folder} has no @CrewBase class, no Flow, no crew.jsonc or flow.yaml, no Crew "
            "at the top of a module that does not run it, and no function annotated `-> Crew`:"
            " name what makes the crew, --crew NAME=module:function"
        )
    return Project(
        project_id=project_id or _slug(name),
        title=title or _title(name),
        crews=found,
        folder=str(layout.folder),
        # What is imported by its own name, and what stands beside pyproject.toml.
        paths=list(dict.fromkeys([str(layout.root), str(layout.folder)])),
        late_paths=_started_in(layout.root, found.values()),
    )


def _of_module(
    source: str, crews: Mapping[str, str] | None, project_id: str, title: str
) -> Project:
    module, _, name = source.partition(":")
    folder, path = _located(module)
    top = module.partition(".")[0]
    if name:
        found: Mapping[str, str] = {identifier(name): source}
    elif crews:
        found = crews
    elif path.name == "__init__.py":
        scanned = _in_package(path.parent, module)
        found = {each.name: each.target for each in _named(scanned)}
    else:
        found = {each.name: each.target for each in _named(_in_module(path, module))}
    if not found:
        raise InvalidProject(
            f"module {module} has no @CrewBase class, no Flow and no function annotated `-> Crew`: "
            f"name what makes the crew, as {module}:function"
        )
    return Project(
        project_id=project_id or _slug(top),
        title=title or _title(top),
        crews=found,
        folder=str(path.parent),
        paths=[str(folder)] if folder else [],
    )


def _located(module: str) -> tuple[Path | None, Path]:
    """Where a module lies, and what has to be on the import path; None: it is there already."""
    here = Path.cwd()
    for base in (here, here / "src"):
        stem = base.joinpath(*module.split("."))
        for path in (stem / "__init__.py", stem.with_suffix(".py")):
            if path.is_file():
                return base, path
    try:
        spec = find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise InvalidProject(
            f"{module!r} is neither a folder nor a module that can be imported: mend the name, or "
            f"install it into {sys.prefix}"
        )
    return None, Path(spec.origin)


def _started_in(root: Path, targets: Iterable[str]) -> list[str]:
    """The packages of crews: where `python main.py` is started in one, it imports what is beside.

    Behind everything else, for such a folder may have a `types.py`.
    """
    tops = {target.partition(":")[0].partition(".")[0] for target in targets if ":" in target}
    return [str(root / top) for top in sorted(tops) if (root / top).is_dir()]


def _layout(folder: Path) -> _Layout:
    about: Mapping[str, Any] = {}
    if (described := folder / "pyproject.toml").is_file():
        try:
            about = tomllib.loads(described.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidProject(f"{described} is not TOML: {error}") from error
    root = folder / "src"
    return _Layout(folder, root if root.is_dir() else folder, about)


def _in_folder(layout: _Layout, name: str) -> Iterator[Found]:
    tool = layout.about.get("tool", {}).get("crewai", {})
    defined = [tool["definition"]] if "definition" in tool else DEFINED
    for file in defined:
        if (layout.folder / file).is_file():
            kind = "flow" if file.endswith((".yaml", ".yml")) else "crew"
            yield Found(identifier(name), kind, file)
            return
    for path in files(layout.root):
        if path.suffix == ".py":
            yield from _in_module(path, _module_name(path, layout.root))


def _in_package(folder: Path, package: str) -> Iterator[Found]:
    for path in files(folder):
        if path.suffix == ".py":
            inside = _module_name(path, folder)
            yield from _in_module(path, f"{package}.{inside}" if inside else package)


def _in_module(path: Path, module: str) -> Iterator[Found]:
    """What at the top of a module makes something to run; nothing of one that runs it at once."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):
        return  # what imports it will say so
    if any(_runs(node) for node in tree.body):
        return
    for node in tree.body:
        kind = _kind(node)
        if kind:
            name = _name(node)
            yield Found(identifier(name), kind, f"{module}:{name}")


def _runs(node: ast.stmt) -> bool:
    """Whether a script's statement kicks a crew off, as soon as somebody imports it."""
    if not isinstance(node, ast.Expr | ast.Assign) or not isinstance(node.value, ast.Call):
        return False
    return any(
        _last(call) in KICKOFFS for call in ast.walk(node) if isinstance(call, ast.Attribute)
    )


def _name(node: ast.stmt) -> str:
    name: str = node.targets[0].id if isinstance(node, ast.Assign) else node.name  # type: ignore[attr-defined] # what _kind takes has one
    return name


def _kind(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef):
        if any(_last(each) == "CrewBase" for each in node.decorator_list):
            return "crew"
        bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        return "flow" if any(_last(base) == "Flow" for base in bases) else ""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        plain = len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        return "crew" if plain and _last(node.value.func) == "Crew" else ""
    if isinstance(node, ast.FunctionDef) and not _arguments(node):
        return "function" if node.returns is not None and _last(node.returns) == "Crew" else ""
    return ""


def _arguments(node: ast.FunctionDef) -> int:
    given = node.args
    return len(given.posonlyargs) + len(given.args) - len(given.defaults)


def _last(node: ast.expr) -> str:
    """`crewai.flow.Flow`, `Flow` and `"Flow"` all end in Flow."""
    if isinstance(node, ast.Constant):
        return str(node.value).rpartition(".")[2]
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _named(found: Iterator[Found]) -> Sequence[Found]:
    """What was found, under names that differ: a later namesake is named after its module too."""
    named: dict[str, Found] = {}
    for each in found:
        name = each.name
        if name in named:
            name = f"{identifier(each.target.partition(':')[0].replace('.', '_'))}_{name}"
        named.setdefault(name, Found(name, each.kind, each.target))
    return list(named.values())


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            hidden = path.name.startswith((".", "__")) or path.name in SKIPPED
            if not hidden and not (path / "pyvenv.cfg").exists():
                yield from _walk(path)
        elif not path.name.startswith("."):
            yield path


def _module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def identifier(name: str) -> str:
    """`LatestAiCrew` and `latest-ai-crew` become latest_ai_crew."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+", "_", words).strip("_").lower() or "crew"


def _slug(name: str) -> str:
    """An id of a project, which is part of the names of its topics."""
    return identifier(name).replace("_", "-")[:60]


def _title(name: str) -> str:
    return identifier(name).replace("_", " ").capitalize()
