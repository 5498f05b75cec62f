"""Makes Bizoholic's data sets: the same bytes on every run.

    python -m crewstream_agents.projects.bizoholic.data.generate

The figures are invented. Their order of magnitude is that of small-business marketing; no real
client is in them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

from crewstream_agents.tools.dataset import to_csv

SEED = 20260101
YEARS = (2024, 2025)

INDUSTRIES = {  # value of a conversion in USD, size of the market relative to `general`
    "education": (210, 0.9),
    "finance": (470, 1.1),
    "general": (240, 1.0),
    "healthcare": (320, 1.0),
    "hospitality": (105, 1.2),
    "retail": (60, 1.6),
    "technology": (420, 1.15),
}
# Conversions a month at saturation, spend in USD at which 63 % of them are reached, minimum spend.
CHANNELS = {
    "b2b": {
        "content_seo": (48, 5200, 800),
        "email_nurture": (34, 2400, 300),
        "linkedin_ads": (62, 9000, 1500),
        "paid_search": (84, 9500, 1000),
        "retargeting": (22, 2600, 300),
        "webinars": (36, 6400, 1200),
    },
    "b2c": {
        "email_nurture": (60, 2200, 200),
        "influencers": (70, 6500, 1000),
        "meta_ads": (150, 8500, 800),
        "paid_search": (120, 8000, 800),
        "retargeting": (45, 2400, 200),
        "tiktok_ads": (95, 7000, 800),
    },
}
# Audience, characters a post may have, hashtags that read well, posts a week, impressions a day,
# click-through rate, hour of the day (audience's local time), usual format.
PLATFORMS = {
    "linkedin": ("b2b", 3000, 3, 4, 2600, 0.0090, 9, "document post"),
    "x": ("b2b", 280, 2, 7, 1900, 0.0110, 13, "thread"),
    "youtube": ("b2b", 5000, 3, 1, 1400, 0.0065, 16, "explainer video"),
    "facebook": ("b2c", 2200, 2, 4, 4200, 0.0100, 12, "photo post"),
    "instagram": ("b2c", 2200, 5, 5, 5200, 0.0085, 18, "carousel"),
    "tiktok": ("b2c", 2200, 4, 5, 6100, 0.0075, 20, "short video"),
}
# What a post can honestly say about an industry: a pain, a gain, a first step, a hashtag.
MESSAGES = {
    "education": (
        "chasing enrolments by hand",
        "a full course before the term starts",
        "Ask for the enrolment checklist",
        "#EdTech",
    ),
    "finance": (
        "leads that go quiet after the first call",
        "a pipeline that you can forecast",
        "Ask for the pipeline review",
        "#Finance",
    ),
    "general": (
        "marketing that you cannot measure",
        "growth that you can plan for",
        "Ask for a free review",
        "#Growth",
    ),
    "healthcare": (
        "empty slots in the calendar",
        "a practice that is booked ahead",
        "Ask for the booking audit",
        "#Healthcare",
    ),
    "hospitality": (
        "quiet weeks between the seasons",
        "rooms and tables that fill themselves",
        "Ask for the season plan",
        "#Hospitality",
    ),
    "retail": (
        "carts that are left behind",
        "shoppers who come back",
        "Ask for the cart check",
        "#Retail",
    ),
    "technology": (
        "demos with people who never buy",
        "a sales team that talks to the right buyers",
        "Book a short demo",
        "#SaaS",
    ),
}
# Industry, monthly spend and value of a conversion in USD, yearly growth of spend and drift of the
# conversion rate.
CLIENTS = {
    "Acorn Analytics": ("technology", 14000, 210, 0.18, 0.06),
    "Brightside Clinics": ("healthcare", 9000, 175, 0.10, 0.02),
    "Cedar & Vine": ("hospitality", 6000, 95, 0.05, -0.20),
    "Delta Learning": ("education", 7500, 130, 0.22, 0.15),
    "Everly Home": ("retail", 18000, 110, 0.12, -0.06),
}
MIX = {  # share of spend, cost per click in USD, click-through rate, conversion rate
    "email_nurture": (0.12, 1.35, 0.0280, 0.052),
    "linkedin_ads": (0.23, 5.20, 0.0065, 0.041),
    "meta_ads": (0.25, 1.30, 0.0105, 0.019),
    "paid_search": (0.40, 2.40, 0.0340, 0.036),
}
SEASON = (0.90, 0.92, 1.00, 1.00, 1.02, 0.96, 0.88, 0.90, 1.05, 1.08, 1.20, 1.14)


def build() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        "channels.csv": to_csv(
            (
                "industry",
                "audience",
                "channel",
                "capacity_per_month",
                "scale_usd_per_month",
                "minimum_usd_per_month",
                "conversion_value_usd",
            ),
            _channels(Random(SEED)),  # noqa: S311  (made to be repeatable)
        ),
        "journeys.csv": to_csv(
            ("quarter", "path", "journeys", "conversions", "revenue_usd"),
            _journeys(Random(SEED + 1)),  # noqa: S311  (made to be repeatable)
        ),
        "messages.csv": to_csv(
            ("industry", "pain", "gain", "first_step", "hashtag"),
            ((industry, *words) for industry, words in MESSAGES.items()),
        ),
        "performance.csv": to_csv(
            (
                "month",
                "client",
                "industry",
                "channel",
                "spend_usd",
                "impressions",
                "clicks",
                "conversions",
                "revenue_usd",
            ),
            _performance(Random(SEED + 2)),  # noqa: S311  (made to be repeatable)
        ),
        "platforms.csv": to_csv(
            (
                "platform",
                "audience",
                "character_limit",
                "hashtags",
                "posts_per_week",
                "impressions_per_day",
                "click_through_rate",
                "local_hour",
                "format",
            ),
            ((name, *values) for name, values in sorted(PLATFORMS.items())),
        ),
    }


def _channels(random: Random) -> Iterator[tuple[object, ...]]:
    for industry, (value, size) in INDUSTRIES.items():
        for audience, channels in CHANNELS.items():
            for channel, (capacity, scale, minimum) in channels.items():
                yield (
                    industry,
                    audience,
                    channel,
                    round(capacity * size * random.uniform(0.85, 1.15), 1),
                    round(scale * random.uniform(0.85, 1.15), -1),
                    minimum,
                    value,
                )


def _months() -> Iterator[tuple[int, str]]:
    for age, (year, month) in enumerate(itertools.product(YEARS, range(1, 13))):
        yield age, f"{year}-{month:02d}"


def _performance(random: Random) -> Iterator[tuple[object, ...]]:
    for (age, month), (client, (industry, budget, worth, growth, drift)) in itertools.product(
        _months(), CLIENTS.items()
    ):
        for channel, (share, cpc, ctr, cvr) in MIX.items():
            trend = SEASON[age % 12] * math.exp(growth * age / 12)
            spend = budget * share * trend * random.uniform(0.92, 1.08)
            clicks = round(spend / (cpc * random.uniform(0.94, 1.06)))
            rate = cvr * math.exp(drift * age / 12) * random.uniform(0.92, 1.08)
            conversions = round(clicks * rate)
            value = worth * random.uniform(0.93, 1.07)
            yield (
                month,
                client,
                industry,
                channel,
                f"{spend:.2f}",
                round(clicks / (ctr * random.uniform(0.95, 1.05))),
                clicks,
                conversions,
                f"{conversions * value:.2f}",
            )


def _paths() -> Iterator[tuple[str, ...]]:
    for length in (1, 2, 3):
        yield from itertools.permutations(MIX, length)


def _journeys(random: Random) -> Iterator[tuple[object, ...]]:
    # A path is likelier to convert the more channels it crosses; each channel pulls its own weight.
    pull = {"email_nurture": 0.9, "linkedin_ads": 0.5, "meta_ads": 0.35, "paid_search": 0.75}
    for year, number in itertools.product(YEARS, range(1, 5)):
        for path in _paths():
            journeys = round(16_800 / len(path) ** 2 * random.uniform(0.6, 1.4))
            rate = 0.02 * sum(pull[channel] for channel in path) * random.uniform(0.85, 1.15)
            conversions = round(journeys * rate)
            yield (
                f"{year}-Q{number}",
                " > ".join(path),
                journeys,
                conversions,
                f"{conversions * 155 * random.uniform(0.93, 1.07):.2f}",
            )


def main() -> None:
    """Write the files beside this one."""
    for name, text in build().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8", newline="")


if __name__ == "__main__":
    main()
