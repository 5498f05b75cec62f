"""What of the environment crews may read: what everybody needs, and what projects declare."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

MACHINE: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "TZ", "LANG", "LANGUAGE", "LC_*"),
    *("TMPDIR", "TEMP", "TMP", "XDG_*", "LD_LIBRARY_PATH", "DYLD_*", "VIRTUAL_ENV", "PYTHON*"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "MALLOC_*"),
)
"""What programs need to find their way; a proxy's URL is the only one that may hold a secret."""

MODELS: Final = (
    *("MODEL", "MODEL_*", "OPENAI_*", "ANTHROPIC_*", "AZURE_*", "GEMINI_*", "GOOGLE_API_KEY"),
    *("CEREBRAS_*", "DASHSCOPE_*", "DEEPINFRA_*", "DEEPSEEK_*", "OPENROUTER_*"),
    *("OLLAMA_*", "VLLM_*", "HOSTED_VLLM_*", "LITELLM_*"),
)
"""Models, their servers and their keys: any crew may be told to use any of them. Not the keys of
whole clouds (AWS_*, GOOGLE_APPLICATION_CREDENTIALS): a project that needs them declares them."""

EVERYTHING: Final = "*"


@dataclass(frozen=True, slots=True)
class Environments:
    """`common` is that of all runners; `own`: what a project's runners have beside it."""

    common: Mapping[str, str]
    own: Mapping[str, Mapping[str, str]]


def share_out(
    environ: Mapping[str, str],
    declared: Mapping[str, Collection[str]],
    for_all: Collection[str] = (),
) -> Environments:
    """Who may read what of `environ`.

    `declared` are the names, or patterns of names, that each project declares, `for_all` those of
    the installation; `*` is everything. Names of proxies and the like count in either case.
    """
    common = _chosen(environ, (*MACHINE, *MODELS, *for_all))
    own = {
        project: {k: v for k, v in _chosen(environ, names).items() if k not in common}
        for project, names in declared.items()
    }
    return Environments(common, {project: has for project, has in own.items() if has})


def _chosen(environ: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    wanted = tuple(patterns)
    return {
        name: value
        for name, value in environ.items()
        if any(fnmatchcase(name, one) or fnmatchcase(name.upper(), one) for one in wanted)
    }
