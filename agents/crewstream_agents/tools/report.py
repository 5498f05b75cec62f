"""What every structured result of a project has in common, and how a person reads it."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import BaseModel, Field

from crewstream_agents.tools import markdown


class Report(BaseModel):
    """A structured result with a readable form."""

    summary: str = Field(description="Two or three sentences: what was found, in figures.")
    recommendations: list[str] = Field(
        default=[], description="What to do next, the most valuable first."
    )
    assumptions: list[str] = Field(
        default=[], description="What was assumed because the request does not say it."
    )
    notes: list[str] = Field(
        default=[], description="What went wrong or was left out, if anything."
    )
    prepared_by: str = Field(
        default="", description="How this was written: by which language model, or without one."
    )

    @abstractmethod
    def title(self) -> str:
        """The heading of the readable form."""

    @abstractmethod
    def sections(self) -> list[tuple[str, str]]:
        """What is particular to this result: headings and markdown bodies."""

    def to_markdown(self) -> str:
        """Return the readable form: it shows the figures of the fields and adds none."""
        return markdown.document(
            self.title(),
            ("", self.summary),
            *self.sections(),
            ("Recommendations", markdown.bullets(self.recommendations)),
            ("Assumptions", markdown.bullets(self.assumptions)),
            ("Notes", markdown.bullets(self.notes)),
            ("", f"_{self.prepared_by}_" if self.prepared_by else ""),
        )
