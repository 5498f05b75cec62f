"""How events.py is made from the .avsc files; needs the tools of the lint group, so dev only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from crewstream.contracts.avsc import combined, read_avsc

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = '''"""One frozen pydantic model per Avro record; generated, do not edit."""'''

_GENERATE = [
    *("-m", "datamodel_code_generator"),
    *("--input-file-type", "avro"),
    *("--output-model-type", "pydantic_v2.BaseModel"),
    *("--base-class", "crewstream.contracts.record.Record"),
    *("--target-python-version", "3.11"),
    *("--formatters", "builtin"),
    *("--custom-file-header", _HEADER),
    "--capitalise-enum-members",
    "--disable-timestamp",
    "--set-default-enum-member",
    "--skip-root-model",
    "--strict-nullable",
    "--use-annotated",
    "--use-field-description",
    "--use-schema-description",
    "--use-single-line-docstring",
]

# Frozen values hold tuples; a record's default is the record with its own defaults (a rule of
# `avsc.combined`), already valid, so that pydantic need not check it again for every event.
_POLISH = [
    (r"list\[(\w+)\]", r"tuple[\1, ...]"),
    (r"Annotated\[([^=]+), Field\(validate_default=True\)\]", r"\1"),
    (r"= \[\]", "= ()"),
    (r": (\w+) = \{\s*'[^}]*\}", r": \1 = \1()"),
    (r"from typing import Annotated\n", ""),
    (r", Field$", ""),
]


def generate(avro: Path) -> str:
    """The text of `events.py` for a folder of .avsc files.

    Raises SchemaConflict (a name defined twice, differently), CalledProcessError (a tool failed).
    """
    text = _run(_GENERATE, json.dumps(combined(read_avsc(avro))))
    for pattern, replacement in _POLISH:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    ruff = ["-m", "ruff", "--isolated"]
    only_imports = ["check", "--select=I", "--config=src=['streams']", "--fix", "--quiet", "-"]
    text = _run([*ruff, *only_imports], text)
    return _run([*ruff, "format", "--line-length=100", "-"], text)


def _run(arguments: list[str], stdin: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)  # noqa: S603 - fixed command
    return done.stdout
