"""How a model is reached: its name, its server, its key, from configuration and environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from crewstream_agents.policy import OFFLINE, ModelPolicy, ModelSpec

NO_KEY: Final = "not-needed"

#: Seconds that one HTTP request to a model may take, unless MODEL_TIMEOUT_S says else.
DEFAULT_TIMEOUT_S: Final = 120.0

# The key of each provider that takes one; a provider that is not here is left to check its own.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
}


class ModelNotConfigured(ValueError):
    """A model cannot be called as it is configured; the message says what to set."""

    error_type: ClassVar[str] = "model.not_configured"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model, where it is served, and how long a request to it may take."""

    model: str
    base_url: str | None
    api_key: str | None = field(repr=False)
    timeout_s: float
    max_tokens: int | None = None
    temperature: float | None = None

    @property
    def offline(self) -> bool:
        """Whether no language model is behind it."""
        return self.model == OFFLINE


def configured(environ: Mapping[str, str]) -> Endpoint | None:
    """Return the model that the environment names, or None when it names none.

    `MODEL` is `provider/name`, or any name when `MODEL_BASE_URL` or `OPENAI_BASE_URL`
    gives an OpenAI-compatible server; such a server needs no key.
    """
    model = environ.get("MODEL", "").strip()
    base_url = environ.get("MODEL_BASE_URL")
    if not model:
        if base_url:
            raise ModelNotConfigured(
                "MODEL_BASE_URL is set but MODEL is not: set MODEL to the name of a "
                "model of that server."
            )
        return None
    key_env = "OPENAI_API_KEY" if base_url and environ.get("OPENAI_API_KEY") else None
    spec = ModelSpec(model, base_url, key_env, _timeout_s(environ))
    return _resolved(spec, environ, f"MODEL={model!r}", "unset MODEL to run on the offline model")


def resolved(spec: ModelSpec, environ: Mapping[str, str], timeout_s: float) -> Endpoint:
    """How a model of models.yaml is reached. Raises ModelNotConfigured.

    `timeout_s` is that of a model that has none of its own.
    """
    if spec.model == OFFLINE:
        return Endpoint(OFFLINE, None, None, timeout_s)
    timed = replace(spec, timeout_s=spec.timeout_s or timeout_s)
    return _resolved(timed, environ, f"model {spec.model!r} of models.yaml", "take it out")


def problems(policy: ModelPolicy, environ: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the models that routes and the environment name, each once."""
    try:
        configured(environ)
    except ModelNotConfigured as error:
        yield str(error)
    for spec in dict.fromkeys(spec for route in policy.routes for spec in route.models):
        try:
            resolved(spec, environ, policy.timeout_s)
        except ModelNotConfigured as error:
            yield str(error)


def _resolved(spec: ModelSpec, environ: Mapping[str, str], where: str, mend: str) -> Endpoint:
    model, base_url = spec.model, spec.base_url
    provider, slash, _ = model.partition("/")
    if not base_url and (not slash or provider == "openai"):
        base_url = environ.get("OPENAI_BASE_URL")
    if base_url:
        model = f"openai/{model.removeprefix('openai/')}"
    elif not slash:
        raise ModelNotConfigured(
            f"{where} does not name its provider: write it as provider/name, e.g. openai/{model}."
        )
    names = (spec.key_env,) if spec.key_env else () if base_url else _KEYS.get(provider, ())
    key = next((environ[name] for name in names if environ.get(name)), None)
    if names and key is None:
        raise ModelNotConfigured(f"{where} needs a key: set {' or '.join(names)}, or {mend}.")
    if base_url and key is None:
        # Servers of one's own seldom check keys, but the client insists on one.
        key = NO_KEY if spec.base_url else environ.get("OPENAI_API_KEY") or NO_KEY
    timeout_s = spec.timeout_s or DEFAULT_TIMEOUT_S
    return Endpoint(model, base_url, key, timeout_s, spec.max_tokens, spec.temperature)


def _timeout_s(environ: Mapping[str, str]) -> float:
    text = environ.get("MODEL_TIMEOUT_S") or str(DEFAULT_TIMEOUT_S)
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0.0
    if not timeout_s > 0:
        raise ModelNotConfigured(f"MODEL_TIMEOUT_S={text!r} is not a number of seconds above zero.")
    return timeout_s


def missing_keys(model: str, environ: Mapping[str, str]) -> Sequence[str]:
    """The variables of which one has to be set for a model; none when one is, or none is needed."""
    provider, slash, _ = model.partition("/")
    names = _KEYS.get(provider if slash else "openai", ())
    return () if any(environ.get(name) for name in names) else names


def key_names(policy: ModelPolicy) -> Sequence[str]:
    """The variables that hold the keys of routes' models, which any crew may be told to use."""
    models = (model for route in policy.routes for model in route.models)
    return sorted({model.key_env for model in models if model.key_env})
