"""Advice over time: what was found, since when, and what became of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

Status = Literal["open", "resolved"]

COLUMNS: Final = (
    *("advice_id", "rule", "kind", "severity", "status", "tenant_id", "project_id", "subject"),
    *("about", "action", "evidence", "query", "opened_at", "updated_at"),
)
"""Of the table `recommendations`, in the order of `Advice.row`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found at one time; `evidence` are the figures behind it, by name."""

    rule: str
    kind: str
    severity: str
    tenant_id: str
    project_id: str
    subject: str
    about: str
    action: str
    query: str
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def advice_id(self) -> UUID:
        """The same for the same subject of the same rule, whatever the figures are."""
        about = (self.rule, self.tenant_id, self.project_id, self.subject)
        return uuid5(NAMESPACE_URL, "crewstream:advice/" + "/".join(about))


@dataclass(frozen=True, slots=True)
class Advice:
    """A finding from when it was first made until it is no longer."""

    finding: Finding
    status: Status
    opened_at: datetime
    updated_at: datetime

    @property
    def row(self) -> Sequence[object]:
        """A row of `recommendations`."""
        found = self.finding
        return (
            *(found.advice_id, found.rule, found.kind, found.severity, self.status),
            *(found.tenant_id, found.project_id, found.subject, found.about, found.action),
            *(dict(found.evidence), found.query, self.opened_at, self.updated_at),
        )

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Advice:
        """The advice of a row of `recommendations`."""
        told = dict(zip(COLUMNS, row, strict=True))
        times = {name: told.pop(name) for name in ("opened_at", "updated_at")}
        status = told.pop("status")
        del told["advice_id"]
        return cls(Finding(**told), status, **times)


@dataclass(frozen=True, slots=True)
class Change:
    """A row to write; `told`: others should hear of it, it is not only newer figures."""

    advice: Advice
    told: bool


def changes(
    known: Iterable[Advice], found: Iterable[Finding], ran: Collection[str], now: datetime
) -> Sequence[Change]:
    """What to write, from the advice that is open and what was found by the rules that `ran`.

    What a rule that did not run had found stays as it is.
    """
    before = {advice.finding.advice_id: advice for advice in known}
    holds = {finding.advice_id: finding for finding in found}
    over = (
        Change(replace(advice, status="resolved", updated_at=now), told=True)
        for name, advice in before.items()
        if name not in holds and advice.finding.rule in ran
    )
    return [*(_held(before.get(name), each, now) for name, each in holds.items()), *over]


def _held(before: Advice | None, found: Finding, now: datetime) -> Change:
    if before is None:
        return Change(Advice(found, "open", now, now), told=True)
    worse_or_better = before.finding.severity != found.severity
    return Change(replace(before, finding=found, updated_at=now), told=worse_or_better)
