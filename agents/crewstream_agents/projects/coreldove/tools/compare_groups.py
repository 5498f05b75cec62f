"""Compares devices and segments, and separates a change of visitors from a change of the shop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import BaseModel
from typing_extensions import override

from crewstream_agents.projects.coreldove.outputs import GroupComparison
from crewstream_agents.projects.coreldove.tools.funnel import (
    SIGNIFICANCE,
    STEPS,
    Asked,
    Cell,
    cells,
    grouped,
    total,
)
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.periods import resolve
from crewstream_agents.tools.statistics import holm, two_proportion_z_test

DIMENSIONS: Mapping[str, Callable[[Cell], str]] = {
    "device": lambda cell: cell.device,
    "segment": lambda cell: cell.segment,
}


class Compared(BaseModel):
    """Result of `compare_groups`."""

    period: str
    comparisons: list[GroupComparison]
    mix_effect: float
    rate_effect: float
    summary: str
    assumptions: list[str]


class CompareGroups(ComputingTool[Asked]):
    """Each group against the others by z-test, Holm-adjusted, and Kitagawa's decomposition."""

    name: str = "compare_groups"
    description: str = (
        "Compare devices and customer segments in a quarter with significance, and split the "
        "change of conversion on the year into other visitors and other behaviour."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Compared:
        data = cells()
        quarter, _ = resolve(asked.period, (cell.quarter for cell in data))
        now = [cell for cell in data if cell.quarter == quarter]
        then = [cell for cell in data if cell.quarter == quarter.a_year_before]
        mix, rate = decompose(
            grouped(then, DIMENSIONS["device"]), grouped(now, DIMENSIONS["device"])
        )
        return Compared(
            period=str(quarter),
            comparisons=_comparisons(now),
            mix_effect=round(mix, 6),
            rate_effect=round(rate, 6),
            summary=(
                f"On the year, conversion moved by {mix * 100:+.3f} points because other devices "
                f"came and by {rate * 100:+.3f} points within the devices."
                if then
                else "There are no data of a year before to compare conversion with."
            ),
            assumptions=["Groups are compared with all others together, not with the average."],
        )


def decompose(then: Mapping[str, Cell], now: Mapping[str, Cell]) -> tuple[float, float]:
    """Return the change of conversion that comes of the mix of groups, and of rates within them.

    They add up to the whole change. Source: E. M. Kitagawa, Components of a Difference Between Two
    Rates, JASA 50 (1955), 1168-1194. Without a past there is no change.
    """
    if not then:
        return 0.0, 0.0
    before, after = _shares(then), _shares(now)
    mix = sum(
        (after[name] - before[name]) * (now[name].conversion + then[name].conversion) / 2
        for name in now
    )
    rate = sum(
        (now[name].conversion - then[name].conversion) * (after[name] + before[name]) / 2
        for name in now
    )
    return mix, rate


def _shares(groups: Mapping[str, Cell]) -> dict[str, float]:
    whole = sum(group.counts[0] for group in groups.values())
    return {name: group.counts[0] / whole for name, group in groups.items()}


def _comparisons(now: Sequence[Cell]) -> list[GroupComparison]:
    pairs = [
        (dimension, name, group, total([cell for cell in now if key(cell) != name]))
        for dimension, key in DIMENSIONS.items()
        for name, group in grouped(now, key).items()
    ]
    adjusted = holm([_p_value(group, others) for _, _, group, others in pairs])
    return [
        GroupComparison(
            dimension=dimension,
            group=name,
            sessions=group.counts[0],
            orders=group.counts[-1],
            conversion=round(group.conversion, 5),
            others_conversion=round(others.conversion, 5),
            difference=round(group.conversion / others.conversion - 1, 4),
            p_value=round(p_value, 5),
            significant=p_value < SIGNIFICANCE,
            weakest_step=_weakest_step(group, others),
        )
        for (dimension, name, group, others), p_value in zip(pairs, adjusted, strict=True)
    ]


def _p_value(group: Cell, others: Cell) -> float:
    return two_proportion_z_test(
        group.counts[-1], group.counts[0], others.counts[-1], others.counts[0]
    ).p_value


def _weakest_step(group: Cell, others: Cell) -> str:
    behind = {
        STEPS[index]: group.rate(index) / others.rate(index) for index in range(1, len(STEPS))
    }
    return min(behind, key=behind.__getitem__)
