"""models.yaml and limits.yaml: what they mean for runs, and what is said of their faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewstream.contracts.limits import Limits
from crewstream.contracts.models import Models
from crewstream.domain.runs import run_policy
from crewstream.errors import Misconfigured
from crewstream_agents.policy import ModelSpec, Policy, Rate, ToolRule

EXAMPLES = Path(__file__).parents[3] / "examples"


def loaded(path: Path, text: str) -> Models:
    file = path / "models.yaml"
    file.write_text(text, "utf-8")
    return Models.load(file)


def test_nothing_is_configured_by_default() -> None:
    assert run_policy(Limits.load(None), Models.load(None)) == Policy()


def test_the_examples_mean_what_they_say() -> None:
    policy = run_policy(
        Limits.load(EXAMPLES / "limits.yaml"), Models.load(EXAMPLES / "models.yaml")
    )

    manager, analyst, drill, rest = policy.models.routes
    assert [spec.model for spec in manager.models] == ["openai/gpt-4o", "llama-3.1-70b"]
    assert (manager.purpose, analyst.agent, analyst.project) == (
        "manager",
        "*analyst*",
        "coreldove",
    )
    assert drill.models == (ModelSpec("offline"),)
    assert rest.models[0] == ModelSpec("openai/gpt-4o-mini", max_tokens=800)
    assert policy.models.rates["openai/*"] == Rate(3000, 0)
    assert policy.models.weights == {"coreldove": 2}
    assert policy.tools.rule("Search_web") == ToolRule(3600, 20, 60)
    assert policy.tools.rule("other") == ToolRule()
    assert policy.tools.stop_when_refused is False


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("routes: [{use: chep}]\nmodels: {cheap: {model: a/b}}", "did you mean 'cheap'?"),
        ("routes: [{use: []}]", "routes.0.use"),
        ("routes: [{use: a/b}, {use: a/c}]", "routes.0 has no conditions"),
        ("routes: [{use: a/b, agnt: x}]", "routes.0.agnt"),
        ("routes: [{use: a/b, purpose: boss}]", "routes.0.purpose"),
        ("models: {m: {model: x, base_url: 'ftp://x'}}", "models.m.base_url"),
        ("models: {m: {model: x, key_env: 'sk-secret key'}}", "models.m.key_env"),
        ("models: {m: {model: x, timeout_s: 0}}", "models.m.timeout_s"),
        ("rates: {'openai/*': {}}", "give requests_per_minute, tokens_per_minute, or both"),
        ("weights: {p: 0}", "weights.p"),
        ("retries: 50", "retries"),
        ("[1]", "models.yaml"),
        (": :", "cannot be read"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(Misconfigured) as told:
        loaded(tmp_path, text)
    assert fault in str(told.value)


def test_projects_that_there_are_not_are_named(tmp_path: Path) -> None:
    models = loaded(
        tmp_path,
        "routes: [{project: shp, use: a/b}, {project: 's*', use: a/b}]\nweights: {shop: 1, x: 1}",
    )

    assert list(models.strangers(["shop"])) == [
        "routes.0.project: there is no project 'shp' in topics.yaml; did you mean 'shop'?",
        "weights.x: there is no project 'x' in topics.yaml",
    ]
