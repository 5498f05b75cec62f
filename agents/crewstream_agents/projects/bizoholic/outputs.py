"""The structured results of Bizoholic's crew."""

from __future__ import annotations

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.tools import markdown
from crewstream_agents.tools.money import Money
from crewstream_agents.tools.report import Report


class ChannelBudget(BaseModel):
    """A channel and the money that it gets."""

    channel: str
    amount: Money = Field(description="USD.")


class ChannelAllocation(ChannelBudget):
    """A channel's part of the budget and what it is expected to bring."""

    share: float = Field(description="Of the whole budget, 0 to 1.")
    expected_conversions: float
    cost_per_conversion: Money = Field(description="USD.")
    marginal_conversions: float = Field(description="Expected of the next 1000 USD.")


class Phase(BaseModel):
    """A phase of a campaign; its days are counted from 1."""

    phase: str
    first_day: int
    last_day: int
    focus: str
    budget: Money = Field(description="USD.")
    channels: list[ChannelBudget]


class Scenario(BaseModel):
    """What the campaign brings with more or less money, allocated anew."""

    budget_change: float = Field(description="Relative to the planned budget, e.g. -0.2.")
    budget: Money = Field(description="USD.")
    conversions: float
    conversions_low: float = Field(description="End of the 90 % range.")
    conversions_high: float = Field(description="End of the 90 % range.")
    revenue: Money = Field(description="USD.")


class CampaignStrategy(Report):
    """A campaign: who it is for, where the money goes, when, and what to expect."""

    industry: str
    audience: str = Field(description="b2b or b2c.")
    budget: Money = Field(description="USD, the whole campaign.")
    campaign_duration: int = Field(description="Days.")
    allocation: list[ChannelAllocation]
    timeline: list[Phase]
    scenarios: list[Scenario]

    @override
    def title(self) -> str:
        return f"Campaign strategy: {self.industry}, {self.audience.upper()}"

    @override
    def sections(self) -> list[tuple[str, str]]:
        return [
            ("Budget by channel", self._allocation()),
            ("Timeline", self._timeline()),
            ("With more or less money", self._scenarios()),
        ]

    def _allocation(self) -> str:
        rows = self.allocation
        return markdown.table(
            {
                "Channel": [row.channel for row in rows],
                "Budget": [markdown.money(row.amount) for row in rows],
                "Share": [markdown.percent(row.share) for row in rows],
                "Conversions": [f"{row.expected_conversions:.1f}" for row in rows],
                "Cost per conversion": [markdown.money(row.cost_per_conversion) for row in rows],
                "Next USD 1,000 brings": [f"{row.marginal_conversions:.2f}" for row in rows],
            }
        )

    def _timeline(self) -> str:
        rows = self.timeline
        return markdown.table(
            {
                "Phase": [row.phase for row in rows],
                "Days": [f"{row.first_day} to {row.last_day}" for row in rows],
                "Budget": [markdown.money(row.budget) for row in rows],
                "Focus": [row.focus for row in rows],
                "Channels": [
                    ", ".join(f"{part.channel} {part.amount:,.2f}" for part in row.channels)
                    for row in rows
                ],
            }
        )

    def _scenarios(self) -> str:
        rows = self.scenarios
        return markdown.table(
            {
                "Budget": [
                    f"{markdown.money(row.budget)} ({markdown.change(row.budget_change)})"
                    for row in rows
                ],
                "Conversions": [f"{row.conversions:.1f}" for row in rows],
                "90 % range": [
                    f"{row.conversions_low:.0f} to {row.conversions_high:.0f}" for row in rows
                ],
                "Revenue": [markdown.money(row.revenue) for row in rows],
            }
        )


class Variant(BaseModel):
    """One of two wordings that are tested against each other."""

    variant: str = Field(description="A or B.")
    hook: str = Field(description="What it leads with.")
    text: str
    hashtags: list[str]
    characters: int = Field(description="Of text and hashtags together.")
    reading_ease: float = Field(description="Flesch Reading Ease; 60 to 70 is plain English.")


class PlatformContent(BaseModel):
    """What is posted on one platform."""

    platform: str
    format: str
    character_limit: int
    variants: list[Variant]


class CalendarEntry(BaseModel):
    """How often, when and what a platform is given; `posts` is for the whole campaign."""

    platform: str
    posts: int
    posts_per_week: int
    local_hour: int = Field(description="Hour of the audience's day, 0 to 23.")
    pillars: dict[str, int] = Field(description="Posts by content pillar.")


class ABTest(BaseModel):
    """Whether and when the two variants of a platform can be told apart."""

    platform: str
    baseline_click_rate: float
    relative_lift: float = Field(description="What the test is planned to show, e.g. 0.2.")
    impressions_per_variant: int
    days: int = Field(description="Days until both variants have had them.")
    fits_campaign: bool
    detectable_lift: float = Field(description="What the whole campaign's traffic can show.")


class ContentPackage(Report):
    """Content by platform with two variants each, a calendar and a test plan."""

    industry: str
    audience: str = Field(description="b2b or b2c.")
    campaign_duration: int = Field(description="Days.")
    content: list[PlatformContent]
    calendar: list[CalendarEntry]
    tests: list[ABTest]

    @override
    def title(self) -> str:
        return f"Content package: {self.industry}, {self.audience.upper()}"

    @override
    def sections(self) -> list[tuple[str, str]]:
        written = [
            (f"{piece.platform} ({piece.format})", _variants(piece)) for piece in self.content
        ]
        return [*written, ("Calendar", self._calendar()), ("A/B tests", self._tests())]

    def _calendar(self) -> str:
        rows = self.calendar
        return markdown.table(
            {
                "Platform": [row.platform for row in rows],
                "Posts": [str(row.posts) for row in rows],
                "A week": [str(row.posts_per_week) for row in rows],
                "At": [f"{row.local_hour:02d}:00" for row in rows],
                "Pillars": [
                    ", ".join(f"{pillar} {count}" for pillar, count in row.pillars.items())
                    for row in rows
                ],
            }
        )

    def _tests(self) -> str:
        rows = self.tests
        return markdown.table(
            {
                "Platform": [row.platform for row in rows],
                "Click rate now": [markdown.percent(row.baseline_click_rate, 2) for row in rows],
                "Lift to show": [markdown.percent(row.relative_lift, 0) for row in rows],
                "Impressions a variant": [f"{row.impressions_per_variant:,}" for row in rows],
                "Days": [str(row.days) for row in rows],
                "Fits": ["yes" if row.fits_campaign else "no" for row in rows],
                "Campaign can show": [markdown.percent(row.detectable_lift) for row in rows],
            }
        )


def _variants(piece: PlatformContent) -> str:
    return "\n\n".join(
        f"**{variant.variant}, {variant.hook}** "
        f"({variant.characters} of {piece.character_limit} characters, "
        f"reading ease {variant.reading_ease:.0f})\n\n"
        f"> {variant.text}\n> {' '.join(variant.hashtags)}"
        for variant in piece.variants
    )


class ClientPerformance(BaseModel):
    """A client's quarter beside the quarter before and the same one a year before."""

    client: str
    spend: Money = Field(description="USD.")
    revenue: Money = Field(description="USD.")
    conversions: int
    roas: float = Field(description="Revenue for each USD spent.")
    cost_per_conversion: Money = Field(description="USD.")
    conversion_rate: float = Field(description="Conversions of clicks, 0 to 1.")
    revenue_change: float | None = Field(description="Against the quarter before; null: no data.")
    revenue_change_on_year: float | None = Field(description="Against a year before.")
    conversion_rate_change: float | None = Field(description="Relative, against a year before.")
    p_value: float | None = Field(description="Of that change, adjusted for all clients (Holm).")
    significant: bool


class ChannelCredit(BaseModel):
    """What a channel is worth by its last touches and by its removal effect."""

    channel: str
    spend: Money = Field(description="USD.")
    last_touch_conversions: float
    attributed_conversions: float = Field(description="By removal effect.")
    attributed_revenue: Money = Field(description="USD.")
    attributed_roas: float


class PerformanceAnalysis(Report):
    """Marketing performance of all clients, or one, in a quarter."""

    period: str = Field(description="The quarter, e.g. 2025-Q4.")
    clients: list[ClientPerformance]
    channels: list[ChannelCredit]

    @override
    def title(self) -> str:
        return f"Marketing performance, {self.period}"

    @override
    def sections(self) -> list[tuple[str, str]]:
        return [("Clients", self._clients()), ("Channels", self._channels())]

    def _clients(self) -> str:
        rows = self.clients
        return markdown.table(
            {
                "Client": [row.client for row in rows],
                "Spend": [markdown.money(row.spend) for row in rows],
                "Revenue": [markdown.money(row.revenue) for row in rows],
                "ROAS": [f"{row.roas:.2f}" for row in rows],
                "Conversions": [f"{row.conversions:,}" for row in rows],
                "Cost per conversion": [markdown.money(row.cost_per_conversion) for row in rows],
                "Conversion rate": [markdown.percent(row.conversion_rate, 2) for row in rows],
                "Revenue on quarter": [markdown.change(row.revenue_change) for row in rows],
                "Revenue on year": [markdown.change(row.revenue_change_on_year) for row in rows],
                "Rate on year": [
                    markdown.change(row.conversion_rate_change)
                    + (" (significant)" if row.significant else "")
                    for row in rows
                ],
            }
        )

    def _channels(self) -> str:
        rows = self.channels
        return markdown.table(
            {
                "Channel": [row.channel for row in rows],
                "Spend": [markdown.money(row.spend) for row in rows],
                "Last touch": [f"{row.last_touch_conversions:,.0f}" for row in rows],
                "Attributed": [f"{row.attributed_conversions:,.1f}" for row in rows],
                "Attributed revenue": [markdown.money(row.attributed_revenue) for row in rows],
                "ROAS": [f"{row.attributed_roas:.2f}" for row in rows],
            }
        )
