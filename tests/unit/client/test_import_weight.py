"""What other services import stays light, and so do our own processes."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "aiohttp",
    "avro",
    "chdb",
    "clickhouse_connect",
    "crewai",
    "faust",
    "prometheus_client",
    "pydantic_settings",
    "redis",
    "rich",
    "structlog",
    "typer",
}


def loaded_by(code: str) -> set[str]:
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_client_brings_nothing_heavy() -> None:
    loaded = loaded_by("from crewstream import Client; Client()")
    assert "aiokafka" in loaded
    assert loaded & HEAVY == set()


def test_the_package_itself_brings_nothing() -> None:
    assert loaded_by("import crewstream") & {"aiokafka", "pydantic", *HEAVY} == set()


def test_help_does_not_wait_for_what_verbs_need() -> None:
    heavy = {"aiokafka", "fastavro", "pydantic", *HEAVY} - {"rich", "typer"}
    assert loaded_by("import crewstream.cli.main") & heavy == set()


def test_no_process_of_ours_brings_crewai() -> None:
    modules = ("worker", "coordinator", "projector", "recorder")
    loaded = loaded_by("; ".join(f"import crewstream.app.{name}" for name in modules))
    assert "redis" in loaded
    assert "crewai" not in loaded
