"""Which route serves which seat, which bucket a model has, and what an overlay can be told."""

from __future__ import annotations

import pytest

from crewstream_agents.endpoints import ModelNotConfigured, problems, resolved
from crewstream_agents.limits.bucket import MINUTE_US, TOLERANCE_US, pace
from crewstream_agents.policy import ModelPolicy, ModelSpec, Rate, Route
from crewstream_agents.routes import Seat, overlay, rate_of, route_of

STRONG, CHEAP = ModelSpec("anthropic/strong"), ModelSpec("openai/cheap")
SEAT = Seat("coreldove", "conversion_analysis", "agent", " Chief Analyst\n", "openai/gpt-4o")


@pytest.mark.parametrize(
    "patterns",
    [
        {},
        {"project": "core*"},
        {"agent": "*analyst"},
        {"agent": "chief analyst"},
        {"task_type": "conversion_*", "purpose": "agent"},
        {"declared": "openai/*"},
    ],
)
def test_a_route_fits_whatever_the_case_and_the_blanks(patterns: dict[str, str]) -> None:
    assert route_of([Route((STRONG,), **patterns)], SEAT) is not None


@pytest.mark.parametrize(
    "patterns",
    [
        {"project": "bizoholic"},
        {"agent": "analyst"},
        {"task_type": "content"},
        {"purpose": "manager"},
        {"declared": "gpt-4o"},
        {"project": "core*", "agent": "writer"},
    ],
)
def test_a_route_that_misses_in_one_thing_does_not_fit(patterns: dict[str, str]) -> None:
    assert route_of([Route((STRONG,), **patterns)], SEAT) is None


def test_the_first_route_that_fits_counts() -> None:
    routes = [Route((STRONG,), agent="writer"), Route((CHEAP,)), Route((STRONG,))]

    assert route_of(routes, SEAT) is routes[1]


def test_a_model_has_the_bucket_of_the_first_pattern_or_its_own() -> None:
    rates = {"openai/gpt-4o": Rate(1), "openai/*": Rate(2)}

    assert rate_of(rates, "openai/gpt-4o") == ("openai/gpt-4o", Rate(1))
    assert rate_of(rates, "OpenAI/other") == ("openai/*", Rate(2))
    assert rate_of(rates, "anthropic/x") == ("anthropic/x", Rate())


def test_an_overlay_names_what_can_be_told_by_name_alone() -> None:
    routes = [
        Route((STRONG,), agent="Judge"),
        Route((STRONG,), agent="Writer"),
        Route((STRONG,), agent="any*"),
        Route((STRONG,), declared="gpt-4o"),
        Route((STRONG,), project="other"),
        Route((STRONG,), purpose="manager"),
        Route((ModelSpec("m", base_url="http://x"),), agent="Served"),
        Route((ModelSpec("offline"),), agent="Nobody"),
        Route((CHEAP,)),
    ]

    assert overlay(routes, "p", "t", ["writer"]) == {
        "Judge": "anthropic/strong",
        "model:gpt-4o": "anthropic/strong",
        "model:*": "openai/cheap",
    }


@pytest.mark.parametrize(
    ("spec", "environ", "mend"),
    [
        (ModelSpec("openai/x"), {}, "set OPENAI_API_KEY"),
        (ModelSpec("openai/x", key_env="OURS"), {"OPENAI_API_KEY": "k"}, "set OURS"),
        (ModelSpec("x", "http://h/v1", key_env="OURS"), {}, "set OURS"),
        (ModelSpec("x"), {}, "openai/x"),
    ],
)
def test_a_model_that_cannot_be_called_says_what_to_set(
    spec: ModelSpec, environ: dict[str, str], mend: str
) -> None:
    with pytest.raises(ModelNotConfigured, match=mend):
        resolved(spec, environ, 10)
    (told,) = problems(ModelPolicy((Route((spec, ModelSpec("offline"))), Route((spec,)))), environ)
    assert mend in told


def test_a_server_of_ones_own_is_not_given_the_key_of_another_provider() -> None:
    environ = {"OPENAI_API_KEY": "sk-secret", "OURS": "mine"}

    assert resolved(ModelSpec("x", "http://h/v1"), environ, 10).api_key == "not-needed"
    assert resolved(ModelSpec("x", "http://h/v1", "OURS"), environ, 10).api_key == "mine"
    assert resolved(ModelSpec("openai/x"), environ, 10).api_key == "sk-secret"


def test_what_a_model_does_not_say_is_that_of_all() -> None:
    assert resolved(ModelSpec("offline"), {}, 10).offline
    assert resolved(ModelSpec("x", "http://h/v1"), {}, 10).timeout_s == 10
    assert resolved(ModelSpec("x", "http://h/v1", timeout_s=3), {}, 10).timeout_s == 3


@pytest.mark.parametrize("per_minute", [1, 19, 20, 21, 1000])
def test_a_full_burst_and_a_minute_at_the_even_pace_stay_within_the_rate(per_minute: int) -> None:
    even = pace(Rate(requests_per_minute=per_minute))

    at_once = even.request_tolerance_us // even.request_us + 1
    assert (MINUTE_US + even.request_tolerance_us) // even.request_us + 1 <= per_minute
    assert at_once * even.request_us <= max(TOLERANCE_US, even.request_us)
    assert pace(Rate()).request_us == 0
