"""Our image: exact bases, installed as locked, not root, checked by /health."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crewstream.config import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
# An exact version of Python, on an exact release of Debian.
EXACT_TAG = re.compile(r"^python:\d+\.\d+\.\d+-slim-[a-z]+$")


def image_faults(dockerfile: str) -> Iterator[str]:
    """What our image must not be; `dockerfile` is the text of it."""
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    last = dockerfile.rpartition("\nFROM ")[2]
    if len(stages) < 2 or re.search(r"\b(apt-get|pip install|uv )", last):
        yield "build tools are left"
    yield from (f"{stage} has no exact version" for stage in stages if not EXACT_TAG.match(stage))
    if "--require-hashes" not in dockerfile or "requirements.lock" not in dockerfile:
        yield "not installed as locked"
    if not re.search(r"^USER (?!root|0\b)\w+", last, re.MULTILINE):
        yield "runs as root"
    if not re.search(r"^HEALTHCHECK [^#]*?/health", last, re.MULTILINE):
        yield "no health check"
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = set(re.findall(rf"\b({PREFIX}[A-Z_]+)=", dockerfile))
    yield from (f"{name} is no setting" for name in sorted(named - known))


def test_the_image_is_small_locked_and_not_root() -> None:
    assert list(image_faults(DOCKERFILE)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("USER crewstream\n", "", "runs as root"),
        ("USER crewstream\n", "USER root\n", "runs as root"),
        ("--require-hashes", "", "not installed as locked"),
        ("HEALTHCHECK", "# HEALTHCHECK", "no health check"),
        ("python:3.11.14-slim-trixie", "python:3.11-slim", "no exact version"),
        ("WORKDIR /data", "RUN apt-get install gcc", "build tools are left"),
        ("CREWSTREAM_DATA_DIR", "CREWSTREAM_FOLDER", "CREWSTREAM_FOLDER is no setting"),
    ],
)
def test_each_rule_of_the_image_bites(old: str, new: str, told: str) -> None:
    text = DOCKERFILE
    assert old in text
    assert [fault for fault in image_faults(text.replace(old, new)) if told in fault]


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {name for line in copied for name in line.split()} == allowed
    assert "*" in ignored
    assert all((ROOT / name).exists() for name in allowed)
