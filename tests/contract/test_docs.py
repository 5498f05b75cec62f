"""What the documents say is so: links lead somewhere, commands and snippets fit the code."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from crewstream.cli.main import app
from crewstream.client import Client, Handle
from crewstream.config import PREFIX, Settings
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.domain import plan

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
TEXTS = {path: path.read_text("utf-8") for path in DOCUMENTS}
# Read by runners and by tests, not by our processes.
NO_SETTINGS = {"MODEL_BASE_URL", "MODEL_TIMEOUT_S", "CREWSTREAM_SEED"}


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    """The fenced blocks of a language, without their indentation."""
    fence = re.compile(rf"^( *)```{language}\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    for path, content in TEXTS.items():
        for indent, block in fence.findall(content):
            yield path, re.sub(f"^{indent}", "", block, flags=re.MULTILINE)


# -- links ----------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def broken_links(path: Path, content: str) -> Iterator[str]:
    for label, link in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", content):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists():
            yield f"{path.name}: there is no {link}"
        elif anchor and anchor not in anchors(target):
            yield f"{path.name}: {link} has no such heading"
        elif label.startswith("`test_") and f"def {label.strip('`')}(" not in target.read_text():
            yield f"{path.name}: {link} has no {label}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere_and_named_tests_exist(path: Path) -> None:
    assert list(broken_links(path, TEXTS[path])) == []


@pytest.mark.parametrize(
    "link",
    [
        "[a](docs/nothing.md)",
        "[a](docs/contracts.md#nothing)",
        "[`test_nothing`](tests/contract/test_docs.py)",
    ],
)
def test_a_broken_link_is_found(link: str) -> None:
    assert list(broken_links(ROOT / "README.md", link))


# -- commands and settings ------------------------------------------------------------------------


def wrong_command(line: str) -> str:
    """What is wrong with a `crewstream …` line; empty when the command line would take it."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(command)
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands.get(name)
        if command is None:
            return f"there is no verb {name}"
        context = command.context_class(command, info_name=name, parent=context)
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word not in {*known, "-"}]
    return f"{line}: no option {', '.join(unknown)}" if unknown else ""


def commands() -> Iterator[str]:
    """Every crewstream command in a document, in a block or within a line."""
    for _, block in blocks("sh"):
        for line in block.splitlines():
            if re.match(r"(\.venv/bin/)?crewstream ", line):
                yield line.removeprefix(".venv/bin/")
    for content in TEXTS.values():
        yield from re.findall(r"`(crewstream [a-z][^`…]*)`", content)


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_are_understood(line: str) -> None:
    assert wrong_command(line) == ""


@pytest.mark.parametrize("line", ["crewstream drink", "crewstream submit --quick a.json"])
def test_a_wrong_command_is_found(line: str) -> None:
    assert wrong_command(line)


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    inline = {name for content in TEXTS.values() for name in re.findall(r"`make (\w+)`", content)}
    shown = {
        name for _, each in blocks("sh") for name in re.findall(r"^make (\w+)$", each, re.MULTILINE)
    }
    assert inline | shown <= targets


def test_settings_exist() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | NO_SETTINGS
    named = {name for each in TEXTS.values() for name in re.findall(rf"\b{PREFIX}[A-Z_]+\b", each)}
    assert named - known - {PREFIX} == set()


# -- snippets -------------------------------------------------------------------------------------


def wrong_python(source: str) -> Iterator[str]:
    """What a Python snippet takes for granted and is not so: names, methods, arguments."""
    tree = ast.parse(source)
    compile(tree, "snippet", "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    yield f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                import_module(alias.name)
        elif isinstance(node, ast.Call):
            yield from wrong_call(node)


def wrong_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    owners: Mapping[str, type] = {"crews": Client, "handle": Handle}
    owner, _, method = called.partition(".")
    target: Any = Client if called == "Client" else None
    if owner in owners:
        target = getattr(owners[owner], method, None)
        if target is None:
            yield f"{owner} has no {method}"
    if target is not None:
        arguments = [None] * (len(node.args) + (owner in owners))
        keywords = {each.arg or "": None for each in node.keywords}
        try:
            inspect.signature(target).bind(*arguments, **keywords)
        except TypeError as error:
            yield f"{called}: {error}"


@pytest.mark.parametrize("source", [block for _, block in blocks("python")])
def test_python_snippets_fit_what_they_import_and_call(source: str) -> None:
    assert list(wrong_python(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from crewstream import Customer",
        "async def f(crews): await crews.send({})",
        "async def f(handle): await handle.result(timeout=3)",
    ],
)
def test_a_wrong_snippet_is_found(source: str) -> None:
    assert list(wrong_python(source))


def test_the_requests_in_python_are_requests() -> None:
    """Every dict that a snippet submits is read as the client reads it."""
    from crewstream.requests import read_request  # noqa: PLC0415  (beside its only use)

    documents = [
        ast.literal_eval(node.args[0])
        for _, source in blocks("python")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "crews.submit"
    ]
    assert documents
    for document in documents:
        now = datetime.now(UTC)
        request = read_request(document, tenant="acme", now=now, unique="1")
        rules = plan.Rules(dict.fromkeys(Topics.load().projects))
        assert plan.faults(request, rules, request.project_id) == ()


def test_the_java_producer_names_our_schema_and_topic() -> None:
    ((_, source),) = blocks("java")
    schemas, topics = Schemas.load(), Topics.load()
    schema_id = re.search(r"SCHEMA_ID = (\d+);", source)
    topic = re.search(r'topic = "([^"]+)"', source)
    assert schema_id is not None
    assert topic is not None
    assert int(schema_id[1]) == schemas.id_of("WorkflowRequested")
    assert topics.record_of(topic[1]) == "WorkflowRequested"


def test_tables_in_sql_exist() -> None:
    made = {"events", "transitions", "dead_letters", "rollup_1h", "migrations"}
    folder = ROOT / "streams" / "crewstream" / "analytics" / "migrations"
    for file in folder.glob("*.sql"):
        made |= set(re.findall(r"IF NOT EXISTS \{db\}\.(\w+)", file.read_text("utf-8")))
    asked = {name for each in TEXTS.values() for name in re.findall(r"SELECT .* FROM (\w+)", each)}
    assert asked
    assert asked <= made
