"""The compose file is accepted by Compose itself, and by rules of our own that bite."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crewstream.config import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"
BINARY = Path(sys.executable).with_name("docker-compose")
PROFILES = ("", "monitoring", "*")
OURS = "crewstream:"

Config = dict[str, Any]
Findings = Iterator[str]
Rule = Callable[[Config], Findings]

# An exact version, not a line of versions: 4.3.1, v3.15.0, 9.1.2-alpine, 26.9.6.6.
EXACT_TAG = re.compile(r"^[^:@]+:v?\d+\.\d+\.\d+(\.\d+)*(-[a-z0-9.]+)*$")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|REDIS_URL|DSN")


def compose(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    command = [str(BINARY), *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def config() -> Config:
    """All profiles, merged and interpolated; the files of env_file are left as files."""
    done = compose("--profile", "*", "config", "--no-env-resolution", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: Config = json.loads(done.stdout)
    return found


# -- the rules ------------------------------------------------------------------------------------


def one_shots(config: Config) -> set[str]:
    """Services that end, and that the others wait for with their success."""
    return {
        name
        for service in config["services"].values()
        for name, wait in service.get("depends_on", {}).items()
        if wait["condition"] == "service_completed_successfully"
    }


def images_are_exact(config: Config) -> Findings:
    for name, service in config["services"].items():
        if not EXACT_TAG.match(service["image"]):
            yield f"{name}: image {service['image']} has no exact version"


def everything_has_a_health_check(config: Config) -> Findings:
    inherited = "HEALTHCHECK" in (ROOT / "Dockerfile").read_text("utf-8")
    for name, service in config["services"].items():
        own = service.get("healthcheck", {})
        there = bool(own.get("test")) or (inherited and service["image"].startswith(OURS))
        if name not in one_shots(config) and (own.get("disable") or not there):
            yield f"{name}: no health check"


def nobody_has_power(config: Config) -> Findings:
    for name, service in config["services"].items():
        for power in ("privileged", "cap_add", "devices", "network_mode", "pid", "ipc"):
            if service.get(power):
                yield f"{name}: {power}"
        if service.get("user", "") in {"root", "0", "0:0"}:
            yield f"{name}: runs as root"
        if "no-new-privileges:true" not in service.get("security_opt", ()):
            yield f"{name}: may gain privileges"
        if "docker.sock" in str(service.get("volumes")):
            yield f"{name}: has the engine's socket"


def ours_have_none_at_all(config: Config) -> Findings:
    for name, service in config["services"].items():
        if service["image"].startswith(OURS):
            if service.get("cap_drop") != ["ALL"]:
                yield f"{name}: keeps capabilities"
            if not service.get("read_only"):
                yield f"{name}: may write where it should not"


def who_waits_waits_for_health(config: Config) -> Findings:
    endings = one_shots(config)
    for name, service in config["services"].items():
        for other, wait in service.get("depends_on", {}).items():
            if other not in endings and wait["condition"] != "service_healthy":
                yield f"{name}: waits for {other} to be {wait['condition']}"
    for name in endings:
        if config["services"][name]["restart"] != "no":
            yield f"{name}: is waited for to end, but is restarted"


def settings_exist(config: Config) -> Findings:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name, service in config["services"].items():
        told = dict(service.get("environment", {}))
        for each in service.get("env_file", ()):
            told |= variables(Path(each["path"]))
        for variable in sorted(told):
            if variable.startswith(PREFIX) and variable not in known:
                yield f"{name}: {variable} is no setting"


def secrets_are_in_files(config: Config) -> Findings:
    for name, service in config["services"].items():
        for variable in service.get("environment", {}):
            if SECRET_NAME.search(variable) and not variable.endswith("__FILE"):
                yield f"{name}: {variable} stands in the compose file"


def everything_has_limits(config: Config) -> Findings:
    for name, service in config["services"].items():
        if not service["deploy"].get("resources", {}).get("limits", {}).get("memory"):
            yield f"{name}: no memory limit"
        if name not in one_shots(config) and service.get("restart") != "unless-stopped":
            yield f"{name}: nobody restarts it"


def only_this_machine_gets_in(config: Config) -> Findings:
    for name, service in config["services"].items():
        if set(service["networks"]) != {"crewstream"}:
            yield f"{name}: is on {sorted(service['networks'])}"
        for port in service.get("ports", ()):
            if port.get("host_ip") != "127.0.0.1":
                yield f"{name}: port {port['target']} is open to the world"


RULES: tuple[Rule, ...] = (
    images_are_exact,
    everything_has_a_health_check,
    nobody_has_power,
    ours_have_none_at_all,
    who_waits_waits_for_health,
    settings_exist,
    secrets_are_in_files,
    everything_has_limits,
    only_this_machine_gets_in,
)


def variables(file: Path) -> dict[str, str]:
    """NAME=value lines, those that are commented out as well: people will uncomment them."""
    found = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", file.read_text("utf-8"), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_accepts_every_profile(profile: str) -> None:
    done = compose(*(["--profile", profile] if profile else []), "config", "-q")
    assert (done.returncode, done.stderr) == (0, "")


def test_compose_itself_refuses_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("services: {a: {image: a:1.0.0, prvileged: true}}")
    assert compose("config", "-q", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_compose_file_obeys(rule: Rule, config: Config) -> None:
    assert list(rule(config)) == []


def spoil(path: str, value: object) -> Callable[[Config], None]:
    """Sets one value, by its path below `services`."""
    *parents, last = path.split("/")

    def set_it(config: Config) -> None:
        place = config["services"]
        for step in parents:
            place = place[step]
        place[last] = value

    return set_it


@pytest.mark.parametrize(
    ("rule", "bad", "told"),
    [
        (images_are_exact, spoil("kafka/image", "apache/kafka:latest"), "kafka: image"),
        (images_are_exact, spoil("valkey/image", "valkey/valkey:9"), "valkey: image"),
        (images_are_exact, spoil("grafana/image", "grafana/grafana"), "grafana: image"),
        (everything_has_a_health_check, spoil("kafka/healthcheck", {}), "kafka: no health"),
        (
            everything_has_a_health_check,
            spoil("worker/healthcheck", {"disable": True}),
            "worker: no health",
        ),
        (nobody_has_power, spoil("worker/privileged", True), "worker: privileged"),
        (nobody_has_power, spoil("kafka/cap_add", ["NET_ADMIN"]), "kafka: cap_add"),
        (nobody_has_power, spoil("recorder/network_mode", "host"), "recorder: network_mode"),
        (nobody_has_power, spoil("worker/user", "root"), "worker: runs as root"),
        (ours_have_none_at_all, spoil("worker/cap_drop", []), "worker: keeps capabilities"),
        (ours_have_none_at_all, spoil("worker/read_only", False), "worker: may write"),
        (nobody_has_power, spoil("grafana/security_opt", []), "grafana: may gain"),
        (
            nobody_has_power,
            spoil("worker/volumes", [{"source": "/var/run/docker.sock"}]),
            "worker: has the engine's socket",
        ),
        (
            who_waits_waits_for_health,
            spoil("worker/depends_on/kafka/condition", "service_started"),
            "worker: waits for kafka",
        ),
        (who_waits_waits_for_health, spoil("init/restart", "always"), "init: is waited for"),
        (
            settings_exist,
            spoil("worker/environment/CREWSTREAM_WORKERS", "2"),
            "worker: CREWSTREAM_WORKERS is no setting",
        ),
        (
            secrets_are_in_files,
            spoil("recorder/environment/CREWSTREAM_CLICKHOUSE_DSN", "http://a:b@c"),
            "recorder: CREWSTREAM_CLICKHOUSE_DSN",
        ),
        (everything_has_limits, spoil("worker/deploy", {"replicas": 2}), "worker: no memory"),
        (everything_has_limits, spoil("worker/restart", "no"), "worker: nobody restarts"),
        (only_this_machine_gets_in, spoil("kafka/networks", {"default": None}), "kafka: is on"),
        (
            only_this_machine_gets_in,
            spoil("kafka/ports", [{"target": 9092, "published": "9092"}]),
            "kafka: port 9092 is open",
        ),
    ],
)
def test_each_rule_bites(
    rule: Rule, bad: Callable[[Config], None], told: str, config: Config
) -> None:
    spoilt = copy.deepcopy(config)
    bad(spoilt)
    assert [found for found in rule(spoilt) if found.startswith(told)]


def test_every_process_is_there_and_those_that_share_partitions_are_two(config: Config) -> None:
    replicas = {
        name: each["deploy"].get("replicas", 1) for name, each in config["services"].items()
    }
    processes = {"coordinator": 2, "worker": 2, "recorder": 1, "projector": 1}
    assert processes.items() <= replicas.items()
    for name in processes:
        assert config["services"][name]["command"] == [name]
        assert "init" in config["services"][name]["depends_on"]


def test_the_passwords_of_servers_and_clients_are_the_same() -> None:
    ours = variables(DEPLOY / "secrets" / "crewstream.env")
    clickhouse = variables(DEPLOY / "secrets" / "clickhouse.env")
    valkey = variables(DEPLOY / "secrets" / "valkey.env")
    user, password = clickhouse["CLICKHOUSE_USER"], clickhouse["CLICKHOUSE_PASSWORD"]
    assert f"{user}:{password}@clickhouse:8123/" in ours["CREWSTREAM_CLICKHOUSE_DSN"]
    assert f":{valkey['VALKEY_PASSWORD']}@valkey:6379/" in ours["CREWSTREAM_REDIS_URL"]
