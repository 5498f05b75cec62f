"""Settings, frozen, handed down as plain values. The only reader of CREWSTREAM_*."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from crewstream.contracts.added import data_home, usual_file
from crewstream.contracts.connection import KafkaConnection
from crewstream.errors import Misconfigured

PREFIX = "CREWSTREAM_"
DOTENV = ".env"

Process = Literal["coordinator", "worker", "recorder", "projector"]
# Where each process serves health and metrics when CREWSTREAM_HTTP_PORT does not say.
HTTP_PORTS: dict[Process, int] = {
    "coordinator": 8181,
    "worker": 8182,
    "recorder": 8183,
    "projector": 8184,
}


def cache_home() -> Path:
    """The user's folder for what can be made again, by the XDG rules; the machine's, no setting."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crewstream"


class Settings(BaseSettings):
    """All that an installation can set. Read with `load`, which puts faults into words."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=DOTENV, frozen=True, extra="ignore", env_ignore_empty=True
    )

    prefix: str = Field(
        default="crewstream",
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Name of the installation: in front of every topic, group and Redis key.",
    )
    tenant: str = Field(
        default="default",
        min_length=1,
        description="Tenant that the command line acts for.",
    )

    kafka_bootstrap: str = Field(
        default="127.0.0.1:9092",
        description="Kafka brokers, `host:port`, several joined by commas.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to speak to the brokers, in Kafka's own words."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to log in to the brokers; SASL_* only."
    )
    kafka_username: str = Field(default="", description="User at the brokers; SASL_* only.")
    kafka_password: SecretStr = Field(
        default=SecretStr(""), description="Password at the brokers; SASL_* only."
    )
    kafka_cafile: str = Field(
        default="",
        description="PEM file of the brokers' authority; empty: the system's authorities.",
    )
    session_timeout_s: float = Field(
        default=10.0,
        ge=1.0,
        le=300.0,
        description="Seconds of silence after which a process has lost its partitions.",
    )
    replicas: int | None = Field(
        default=None,
        ge=1,
        description="Copies of every topic, instead of those in topics.yaml. One broker has 1.",
    )
    topics: Path | None = Field(
        default=None, description="The installation's own topics.yaml; empty: the one that ships."
    )
    projects: Path = Field(
        default_factory=usual_file,
        description="File of the projects that `crewstream projects add` added; empty: "
        "projects.yaml in the user's data home.",
    )

    # Not REDIS_URL: CrewAI takes that one for its own storage.
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey: status, outcomes, journal, budgets.",
    )
    clickhouse_dsn: SecretStr = Field(
        default=SecretStr("http://127.0.0.1:8123"),
        description="ClickHouse: `http(s)://user:password@host:port/database`, or "
        "`chdb:///folder` for the embedded engine.",
    )
    clickhouse_port: int = Field(
        default=8123,
        ge=0,
        le=65535,
        description="Port on which the recorder serves the embedded engine; chdb:// only.",
    )
    otlp_endpoint: str = Field(
        default="",
        description="OpenTelemetry collector to which the recorder sends traces by OTLP over HTTP, "
        "such as http://127.0.0.1:4318; empty: none. Needs the extra `otel`.",
    )
    otlp_headers: SecretStr = Field(
        default=SecretStr(""),
        description="Headers for the collector, `name=value,name=value`, such as its key.",
    )
    registry_url: str = Field(
        default="",
        description="Confluent-compatible schema registry to use and check against the lock; "
        "empty: the committed lock alone.",
    )
    status_url: str = Field(
        default=f"http://127.0.0.1:{HTTP_PORTS['projector']}",
        description="Where the projector answers questions about workflows.",
    )

    http_host: str = Field(
        default="127.0.0.1", description="Address on which /health and /metrics are served."
    )
    http_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of /health and /metrics; 0: any free one; empty: "
        + ", ".join(f"{name} {port}" for name, port in HTTP_PORTS.items())
        + ".",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="How it is logged; auto: console on a terminal, JSON otherwise."
    )
    data_dir: Path = Field(
        default_factory=data_home,
        description="Folder in which `crewstream up` keeps its data; empty: the user's data home.",
    )

    slo: Path | None = Field(
        default=None,
        description="File of service level objectives (slo.yaml); empty: those in the table `slo`.",
    )
    advice_interval_s: float = Field(
        default=300.0,
        ge=0.0,
        description="Seconds between two rounds of advice by the recorder; 0: none.",
    )
    limits: Path | None = Field(
        default=None,
        description="File of limits for tenants and projects (limits.yaml); empty: no limits.",
    )
    models: Path | None = Field(
        default=None,
        description="File that says which models serve what, and their rates (models.yaml); "
        "empty: `MODEL` of the environment, or the offline model.",
    )

    worker_runs: Literal["crews", "echo"] = Field(
        default="crews",
        description="What a worker runs; echo answers at once, to measure everything but crews.",
    )
    executor: Literal["lean", "stock"] = Field(
        default="lean",
        description="CrewAI's agent loop: ours without its flow engine, or stock.",
    )
    selection: Literal["record", "off"] = Field(
        default="record",
        description="How one of several agents is chosen for a task: by its record, or not at all "
        "(tasks.yaml says who).",
    )
    selection_explore: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="Share of those choices that go to another agent than the best, to learn.",
    )
    standings_every_s: float = Field(
        default=60.0,
        ge=0.0,
        description="Seconds between two publications of agents' records by the recorder; 0: none.",
    )
    worker_runners: int = Field(
        default=0, ge=0, description="Runner processes of a worker, at least; 0: one a core."
    )
    worker_runners_max: int = Field(
        default=0,
        ge=0,
        description="Runner processes of a worker, at most; 0: as many as at least, or four a core "
        "where that is not said either.",
    )
    worker_max_cpu: float = Field(
        default=0.80,
        gt=0,
        le=1,
        description="Part of the processors in use, above which runners are removed, not added.",
    )
    worker_max_memory: float = Field(
        default=0.75, gt=0, le=1, description="The same of the memory in use."
    )
    worker_resources_s: float = Field(
        default=15.0,
        ge=0,
        description="Seconds between two measurements of what a worker uses; 0: none are sent.",
    )
    worker_concurrency: int = Field(
        default=16, ge=1, description="Crews that one runner runs at once."
    )
    runner_env: str = Field(
        default="",
        description="Variables that all crews may read beside those of programs and models: names "
        "or patterns, joined by commas; `*`: all.",
    )
    runner_writable: str = Field(
        default="",
        description="Folders that crews may write to beside their own, joined by commas; "
        "`/`: anywhere.",
    )
    runner_file_mib: int = Field(
        default=1024, ge=0, description="Largest file that a crew may write; 0: no limit."
    )
    runner_memory_mib: int = Field(
        default=1500, ge=64, description="Memory of a runner above which it is replaced."
    )
    memory_dir: Path | None = Field(
        default=None,
        description="Folder of the memories of crews, by tenant; empty: `memory` in the data "
        "folder.",
    )
    worker_window: int = Field(
        default=20_000,
        ge=1,
        description="Assignments that a worker holds undone, to choose from.",
    )
    worker_window_mib: int = Field(
        default=64, ge=1, description="The same in MiB: the first limit that is met."
    )
    worker_grace_s: float = Field(
        default=30.0,
        ge=0.0,
        description="Seconds that running crews have to finish when a worker is stopped.",
    )

    @property
    def shown_to_crews(self) -> list[str]:
        """Variables that all crews may read beside those of programs and models."""
        return listed(self.runner_env)

    @property
    def kafka(self) -> KafkaConnection:
        """How to reach Kafka."""
        return KafkaConnection(
            bootstrap=self.kafka_bootstrap,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            password=self.kafka_password.get_secret_value(),
            cafile=self.kafka_cafile,
        )

    def runners(self, cores: int) -> tuple[int, int]:
        """Runner processes of a worker that may use so many processors: at least, at most."""
        least = self.worker_runners or cores
        most = self.worker_runners_max or (least if self.worker_runners else 4 * cores)
        return least, max(least, most)

    def port_of(self, process: Process) -> int:
        """The port on which this process serves health and metrics; 0: any free one."""
        return HTTP_PORTS[process] if self.http_port is None else self.http_port


def load(**overrides: Any) -> Settings:
    """The settings of this environment; `overrides` (such as a command's options) win over it.

    Raises Misconfigured, naming every setting that cannot be used.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = [f"{_variable(e['loc'])}: {e['msg']}" for e in error.errors()]
        raise Misconfigured("settings that cannot be used: " + "; ".join(faults)) from None


def listed(text: str) -> list[str]:
    """What commas part."""
    return [part for one in text.split(",") if (part := one.strip())]


def unknown() -> list[str]:
    """A sentence for each CREWSTREAM_* name, in the environment or .env, that is no setting."""
    known = [name.upper() for name in Settings.model_fields]
    found = {name.upper() for name in (*os.environ, *dotenv_values(DOTENV))}
    return [
        _unknown(name, known)
        for name in sorted(found)
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known
    ]


def passed_on() -> dict[str, str]:
    """What .env holds for others, such as MODEL and its key: it belongs into runners' environment.

    The environment itself wins over .env, as it does for our own settings.
    """
    return {
        name: value
        for name, value in dotenv_values(DOTENV).items()
        if value is not None and not name.upper().startswith(PREFIX) and name not in os.environ
    }


def for_crews() -> dict[str, str]:
    """The environment that code of projects is given: it does not see how to reach our servers."""
    secret = {
        _variable([name])
        for name, field in Settings.model_fields.items()
        if field.annotation is SecretStr
    }
    theirs = {name: value for name, value in os.environ.items() if name.upper() not in secret}
    return {**theirs, **passed_on()}


def table() -> str:
    """All settings as a Markdown table: what docs/settings.md holds."""
    rows = [
        f"| `{_variable([name])}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _default(value: object) -> str:
    shown = value.get_secret_value() if isinstance(value, SecretStr) else value
    # A default that is made (data_dir) has no value to show: its description says which.
    return f"`{shown}`" if isinstance(shown, str | int | float) and shown != "" else ""


def _variable(location: Iterable[object]) -> str:
    return PREFIX + "_".join(str(part) for part in location).upper()


def _unknown(name: str, known: list[str]) -> str:
    # Without what all of them share, or everything would be near to everything.
    near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
    hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
    return f"{name} is no setting of crewstream{hint}"
