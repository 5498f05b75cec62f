"""What crews may read of the environment: what all of them need, and what each project declares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crewstream_agents import endpoints
from crewstream_agents.environment import EVERYTHING, share_out

MACHINE = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "https_proxy": "http://proxy",
    "MODEL": "openai/gpt-4o-mini",
    "OPENAI_API_KEY": "sk-1",
    "SERP_API_KEY": "serp",
    "CRM_USER": "u",
    "CRM_TOKEN": "t",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "DATABASE_URL": "postgres://",
    "CREWSTREAM_REDIS_URL": "redis://secret",
}


def test_all_crews_read_what_programs_and_models_need_and_nothing_else() -> None:
    shared = share_out(MACHINE, {})

    assert shared.common.keys() == {"PATH", "LC_ALL", "https_proxy", "MODEL", "OPENAI_API_KEY"}
    assert shared.own == {}


def test_a_project_reads_what_it_declares_and_others_do_not() -> None:
    declared = {"a": ("SERP_API_KEY",), "b": ("CRM_*",), "c": ("PATH", "NOT_SET")}

    shared = share_out(MACHINE, declared)

    assert shared.own == {"a": {"SERP_API_KEY": "serp"}, "b": {"CRM_USER": "u", "CRM_TOKEN": "t"}}
    assert not shared.common.keys() & {"SERP_API_KEY", "CRM_USER", "CRM_TOKEN"}


def test_an_installation_may_give_all_crews_more_or_everything() -> None:
    assert share_out(MACHINE, {}, ["DATABASE_*"]).common["DATABASE_URL"] == "postgres://"
    assert share_out(MACHINE, {"a": ("CRM_USER",)}, [EVERYTHING]).common == MACHINE


def test_every_key_that_a_model_is_looked_up_by_reaches_all_crews() -> None:
    keys = {name for names in endpoints._KEYS.values() for name in names}  # noqa: SLF001 - its table

    assert share_out(dict.fromkeys(keys, "k"), {}).common.keys() == keys


@given(
    st.dictionaries(st.sampled_from(["PATH", "A_KEY", "B_KEY", "C"]), st.text()),
    st.dictionaries(st.sampled_from(["p", "q"]), st.lists(st.sampled_from(["A_*", "B_KEY", "C"]))),
)
def test_nothing_is_given_that_was_not_declared(
    environ: dict[str, str], declared: dict[str, list[str]]
) -> None:
    shared = share_out(environ, declared)

    assert shared.common.keys() <= {"PATH"}
    for project, has in shared.own.items():
        assert all(environ[name] == value for name, value in has.items())
        assert all(name in declared[project] or name == "A_KEY" for name in has)
