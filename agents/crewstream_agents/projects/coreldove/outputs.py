"""The structured results of CoreLDove's crew."""

from __future__ import annotations

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.tools import markdown
from crewstream_agents.tools.money import Money
from crewstream_agents.tools.report import Report


class FunnelStep(BaseModel):
    """How many went on from one step of the funnel to the next, and how that changed."""

    step: str = Field(description="The step that is reached.")
    entered: int
    reached: int
    lost: int
    rate: float = Field(description="Reached of entered, 0 to 1.")
    rate_low: float = Field(description="End of the 95 % Wilson interval.")
    rate_high: float = Field(description="End of the 95 % Wilson interval.")
    rate_change: float | None = Field(description="Relative, against a year before.")
    p_value: float | None = Field(description="Of that change, adjusted for all steps (Holm).")
    significant: bool


class GroupComparison(BaseModel):
    """A device or segment against all others together."""

    dimension: str = Field(description="device or segment.")
    group: str
    sessions: int
    orders: int
    conversion: float = Field(description="Orders of sessions, 0 to 1.")
    others_conversion: float
    difference: float = Field(description="Relative to the others.")
    p_value: float = Field(description="Adjusted for all groups (Holm).")
    significant: bool
    weakest_step: str = Field(description="Where it falls furthest behind the others.")


class Opportunity(BaseModel):
    """A gap in the funnel, what closing half of it is worth, and what it takes."""

    rank: int
    device: str
    step: str
    rate: float
    benchmark: float = Field(description="The best rate of any device or of a year before.")
    extra_orders: float = Field(description="A quarter, when half of the gap is closed.")
    revenue_at_stake: Money = Field(description="USD a quarter.")
    effort_weeks: int
    revenue_per_week: Money = Field(description="USD a quarter for each week of work.")
    lever: str


class ConversionAnalysis(Report):
    """A shop's conversion funnel in a quarter, and what to mend first."""

    period: str = Field(description="The quarter, e.g. 2025-Q4.")
    sessions: int
    orders: int
    conversion: float = Field(description="Orders of sessions, 0 to 1.")
    revenue: Money = Field(description="USD.")
    average_order_value: Money = Field(description="USD.")
    mix_effect: float = Field(
        description="Change of conversion on the year from other visitors, in points of 1."
    )
    rate_effect: float = Field(
        description="Change of conversion on the year within devices, in points of 1."
    )
    steps: list[FunnelStep]
    comparisons: list[GroupComparison]
    opportunities: list[Opportunity]

    @override
    def title(self) -> str:
        return f"Conversion analysis, {self.period}"

    @override
    def sections(self) -> list[tuple[str, str]]:
        return [
            ("Key figures", self._figures()),
            ("Funnel", self._steps()),
            ("Devices and segments", self._comparisons()),
            ("Revenue at stake", self._opportunities()),
        ]

    def _figures(self) -> str:
        return markdown.bullets(
            [
                f"Sessions: {self.sessions:,}",
                f"Orders: {self.orders:,}",
                f"Conversion: {markdown.percent(self.conversion, 2)}",
                f"Revenue: {markdown.money(self.revenue)}",
                f"Average order value: {markdown.money(self.average_order_value)}",
                f"Conversion on the year, from other visitors: {self.mix_effect * 100:+.3f} points",
                f"Conversion on the year, within devices: {self.rate_effect * 100:+.3f} points",
            ]
        )

    def _steps(self) -> str:
        rows = self.steps
        return markdown.table(
            {
                "Step": [row.step for row in rows],
                "Entered": [f"{row.entered:,}" for row in rows],
                "Reached": [f"{row.reached:,}" for row in rows],
                "Lost": [f"{row.lost:,}" for row in rows],
                "Rate": [markdown.percent(row.rate) for row in rows],
                "95 % range": [
                    f"{markdown.percent(row.rate_low)} to {markdown.percent(row.rate_high)}"
                    for row in rows
                ],
                "On year": [
                    markdown.change(row.rate_change) + (" (significant)" if row.significant else "")
                    for row in rows
                ],
            }
        )

    def _comparisons(self) -> str:
        rows = self.comparisons
        return markdown.table(
            {
                "Group": [f"{row.dimension}: {row.group}" for row in rows],
                "Sessions": [f"{row.sessions:,}" for row in rows],
                "Orders": [f"{row.orders:,}" for row in rows],
                "Conversion": [markdown.percent(row.conversion, 2) for row in rows],
                "Others": [markdown.percent(row.others_conversion, 2) for row in rows],
                "Difference": [
                    markdown.change(row.difference) + (" (significant)" if row.significant else "")
                    for row in rows
                ],
                "Weakest step": [row.weakest_step for row in rows],
            }
        )

    def _opportunities(self) -> str:
        rows = self.opportunities
        return markdown.table(
            {
                "#": [str(row.rank) for row in rows],
                "Where": [f"{row.device}, {row.step}" for row in rows],
                "Rate": [markdown.percent(row.rate) for row in rows],
                "Benchmark": [markdown.percent(row.benchmark) for row in rows],
                "Orders": [f"{row.extra_orders:,.0f}" for row in rows],
                "Revenue a quarter": [markdown.money(row.revenue_at_stake) for row in rows],
                "Weeks": [str(row.effort_weeks) for row in rows],
                "Lever": [row.lever for row in rows],
            }
        )
