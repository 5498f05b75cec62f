"""What limits.yaml and models.yaml mean for the runs of crews."""

from __future__ import annotations

from crewstream.contracts.limits import Limits
from crewstream.contracts.models import Model, Models
from crewstream_agents import policy


def run_policy(limits: Limits, models: Models) -> policy.Policy:
    """What every runner is told."""
    return policy.Policy(_models(models), _tools(limits))


def _models(models: Models) -> policy.ModelPolicy:
    return policy.ModelPolicy(
        routes=tuple(
            policy.Route(
                models=tuple(_spec(models.model(name)) for name in route.use),
                **route.model_dump(exclude={"use"}),
            )
            for route in models.routes
        ),
        rates={
            name: policy.Rate(rate.requests_per_minute or 0.0, rate.tokens_per_minute or 0.0)
            for name, rate in models.rates.items()
        },
        weights=dict(models.weights),
        timeout_s=models.timeout_s,
        retries=models.retries,
        patience_s=models.patience_s,
    )


def _spec(model: Model) -> policy.ModelSpec:
    return policy.ModelSpec(**model.model_dump())


def _tools(limits: Limits) -> policy.ToolPolicy:
    return policy.ToolPolicy(
        rules={name: policy.ToolRule(**each.model_dump()) for name, each in limits.tools.items()},
        stop_when_refused=limits.when_tool_refused == "stop",
    )
