"""Settings: from the environment and .env, every fault in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crewstream import config
from crewstream.errors import Misconfigured


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without settings of ours, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)


def test_an_empty_environment_is_enough() -> None:
    assert config.load().kafka.bootstrap == "127.0.0.1:9092"


def test_the_environment_wins_over_dotenv_and_a_callers_word_over_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("CREWSTREAM_PREFIX=file\nCREWSTREAM_TENANT=file\n")
    monkeypatch.setenv("CREWSTREAM_TENANT", "environment")
    assert (config.load().prefix, config.load().tenant) == ("file", "environment")
    assert config.load(tenant="caller").tenant == "caller"


def test_the_connection_carries_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWSTREAM_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("CREWSTREAM_KAFKA_USERNAME", "me")
    monkeypatch.setenv("CREWSTREAM_KAFKA_PASSWORD", "secret")
    arguments = config.load().kafka.arguments()
    assert arguments["sasl_plain_password"] == "secret"  # noqa: S105
    assert "secret" not in repr(config.load())


def test_every_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWSTREAM_HTTP_PORT", "x")
    monkeypatch.setenv("CREWSTREAM_PREFIX", "Not.Good")
    with pytest.raises(Misconfigured, match=r"CREWSTREAM_PREFIX: .*CREWSTREAM_HTTP_PORT: "):
        config.load()


def test_an_unknown_name_is_told_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CREWSTREAM_REDIS_ULR", "redis://x")
    Path(".env").write_text("CREWSTREAM_ZZZ=1\nMODEL=x\n")
    assert config.unknown() == [
        "CREWSTREAM_REDIS_ULR is no setting of crewstream; did you mean CREWSTREAM_REDIS_URL?",
        "CREWSTREAM_ZZZ is no setting of crewstream",
    ]


def test_what_dotenv_holds_for_others_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", "environment")
    Path(".env").write_text("CREWSTREAM_TENANT=t\nMODEL=gpt\nBASE_URL=file\n")
    assert config.passed_on() == {"MODEL": "gpt"}


def test_every_setting_has_a_description_and_a_row_in_the_table() -> None:
    table = config.table()
    for name, field in config.Settings.model_fields.items():
        assert field.description, name
        assert f"| `CREWSTREAM_{name.upper()}` |" in table


def test_processes_listen_on_ports_of_their_own_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len({config.load().port_of(process) for process in config.HTTP_PORTS}) == 4
    monkeypatch.setenv("CREWSTREAM_HTTP_PORT", "0")
    assert config.load().port_of("worker") == 0


def test_data_goes_to_the_users_data_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert config.load().data_dir == Path("/data/crewstream")


def test_the_code_of_projects_does_not_see_how_to_reach_our_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CREWSTREAM_REDIS_URL", "redis://:secret@host")
    monkeypatch.setenv("CREWSTREAM_TENANT", "acme")
    monkeypatch.setenv("SERPER_API_KEY", "theirs")
    given = config.for_crews()

    assert "CREWSTREAM_REDIS_URL" not in given
    assert (given["CREWSTREAM_TENANT"], given["SERPER_API_KEY"]) == ("acme", "theirs")
