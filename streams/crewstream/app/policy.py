"""What limits.yaml and models.yaml of an installation mean here, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from crewstream import config
from crewstream.config import Settings
from crewstream.contracts.limits import Limits
from crewstream.contracts.models import Models
from crewstream.contracts.topics import Topics
from crewstream.domain.runs import run_policy
from crewstream_agents.endpoints import problems


def models_problems(settings: Settings) -> tuple[str, Sequence[str]]:
    """What is configured, in a few words, and a sentence for each fault. Raises Misconfigured."""
    models = Models.load(settings.models)
    policy = run_policy(Limits.load(settings.limits), models)
    topics = Topics.load(settings.topics, prefix=settings.prefix, replicas=settings.replicas)
    environ: Mapping[str, str] = {**os.environ, **config.passed_on()}
    if models.routes:
        found = f"{len(models.routes)} routes, {len(models.rates)} rates"
    else:
        found = environ.get("MODEL") or "the offline model"
    return found, [*models.strangers(topics.projects), *problems(policy.models, environ)]
