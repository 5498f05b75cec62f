"""Writes two variants of a post for each platform, within its limits, and scores how they read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import PlatformContent, Variant
from crewstream_agents.projects.bizoholic.tools import market
from crewstream_agents.projects.bizoholic.tools.platforms import Platform, PlatformBrief, choose
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.dataset import Row, rows

#: Longer posts are cut off by a "see more" on every platform that we post on.
READ_WITHOUT_A_CLICK = 400


class Composed(BaseModel):
    """Result of `compose_variants`."""

    industry: str
    audience: str
    campaign_duration: int
    content: list[PlatformContent]
    summary: str
    recommendations: list[str]
    assumptions: list[str]


class ComposeVariants(ComputingTool[PlatformBrief]):
    """Copy from the tested phrases of `messages.csv`: a question against a promise."""

    name: str = "compose_variants"
    description: str = (
        "Write two variants of a social media post for each platform, fitted to its character "
        "limit, with hashtags and the Flesch Reading Ease of each."
    )
    args_schema: type[BaseModel] = PlatformBrief

    @override
    def compute(self, asked: PlatformBrief) -> Composed:
        place = market.read(asked)
        words = next(
            row for row in rows(market.PACKAGE, "messages.csv") if row["industry"] == place.industry
        )
        content = [
            _content(platform, asked.target_audience or "you", words)
            for platform in choose(place.audience, asked.platforms)
        ]
        variants = [variant for piece in content for variant in piece.variants]
        hardest = min(variant.reading_ease for variant in variants)
        return Composed(
            industry=place.industry,
            audience=place.audience,
            campaign_duration=place.duration_days,
            content=content,
            summary=(
                f"{len(variants)} posts for {len(content)} platforms, two variants each; every one "
                f"is within its platform's limit, the hardest to read scores {hardest:.0f} of 100."
            ),
            recommendations=[
                (
                    "Put a figure of your own into variant B before it goes out: a promise with a "
                    "number is believed sooner."
                )
            ],
            assumptions=[
                *place.assumptions,
                "The wording is made of phrases of the industry; no product facts were given.",
            ],
        )


def reading_ease(text: str) -> float:
    """Return the Flesch Reading Ease; higher is easier, 60 to 70 is plain English.

    Source: R. Flesch, A New Readability Yardstick, J. Applied Psychology 32 (1948), 221-233.
    Syllables are counted as groups of vowels, a silent final e left out.
    """
    words = re.findall(r"[A-Za-z]+", text)
    sentences = max(1, len(re.findall(r"[.!?:]+(?:\s|$)", text)))
    syllables = sum(_syllables(word.lower()) for word in words)
    return round(206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words), 1)


def _syllables(word: str) -> int:
    silent = word.endswith("e") and not word.endswith(("le", "ee"))
    return max(1, len(re.findall(r"[aeiouy]+", word)) - silent)


def _content(platform: Platform, audience: str, words: Row) -> PlatformContent:
    hashtags = [words["hashtag"], "#Marketing", "#Strategy", "#Business", "#Ideas"]
    tags = hashtags[: platform.hashtags]
    room = min(platform.character_limit, READ_WITHOUT_A_CLICK) - len(" ".join(tags)) - 1
    return PlatformContent(
        platform=platform.name,
        format=platform.format,
        character_limit=platform.character_limit,
        variants=[
            _variant(letter, hook, fit(sentences, room), tags)
            for letter, hook, sentences in _wordings(audience, words)
        ],
    )


def _variant(letter: str, hook: str, text: str, tags: list[str]) -> Variant:
    return Variant(
        variant=letter,
        hook=hook,
        text=text,
        hashtags=tags,
        characters=len(f"{text} {' '.join(tags)}"),
        reading_ease=reading_ease(text),
    )


def _wordings(audience: str, words: Row) -> Iterator[tuple[str, str, list[str]]]:
    """Give each variant's sentences; the first and the last matter most, the middle may go."""
    step = f"{words['first_step']}."
    yield (
        "A",
        "question",
        [
            f"What is the monthly cost of {words['pain']}?",
            f"For {audience} it adds up faster than it looks.",
            "We start with your own numbers and show where the money goes.",
            step,
        ],
    )
    yield (
        "B",
        "promise",
        [
            f"Picture {words['gain']}.",
            f"That is what we plan for with {audience}, step by step and in the open.",
            "Each week you see what it cost and what it brought.",
            step,
        ],
    )


def fit(sentences: list[str], room: int) -> str:
    """Join as many sentences as fit, always the first and the last; cut only when they do not."""
    first, *middle, last = sentences
    kept: list[str] = []
    for sentence in middle:
        if len(" ".join([first, *kept, sentence, last])) <= room:
            kept.append(sentence)
    text = " ".join([first, *kept, last])
    return text if len(text) <= room else text[: room - 1].rstrip() + "…"
