"""A finished call as it is kept: what it returned, what it used, who made it and when."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from crewstream_agents.journal.result import Encoded, is_error
from crewstream_agents.spec import Call, Operation, Usage

COMPRESS_ABOVE_BYTES: Final = 4096

LLM: Final = "llm"
TOOL: Final = "tool"
HOST: Final = "host"


@dataclass(frozen=True, slots=True)
class Record:
    """A finished call. `started` is a Unix time in seconds; `cost_usd` is exact, "" for no price.

    `reported` is the usage in the provider's own words; `kind_of_answer`, `finish_reason` and
    `response_id` are CrewAI's, for the events of a replay. `error_type` is of a failure that is not
    the tool's own; `attributes` are measured beside.
    """

    kind: str
    result: Encoded
    started: float
    duration_ms: float = 0.0
    agent: str = ""
    tool: str = ""
    provider: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 0
    cost_usd: str = "0"
    failed: bool = False
    kind_of_answer: str = ""
    finish_reason: str | None = None
    response_id: str | None = None
    reported: Mapping[str, Any] = field(default_factory=dict)
    error_type: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def dump(self) -> bytes:
        """As bytes; large ones compressed."""
        # Not asdict, which would copy the whole result; what is empty is what a load fills in.
        told = {name: value for name in _NAMES if (value := getattr(self, name))}
        data = json.dumps(told, separators=(",", ":"), default=str).encode()
        return zlib.compress(data, 1) if len(data) > COMPRESS_ABOVE_BYTES else data

    @classmethod
    def load(cls, data: bytes) -> Record:
        """From the bytes of `dump`."""
        told = json.loads(data if data.startswith(b"{") else zlib.decompress(data))
        return cls(**{"cost_usd": "", **told})

    @property
    def is_error(self) -> bool:
        """Whether a tool raised."""
        return is_error(self.result)

    @property
    def usage(self) -> Usage:
        """What the call used."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            llm_calls=self.llm_calls,
            cost_usd=Decimal(self.cost_usd or 0),
        )

    def call(self, name: str) -> Call:
        """The call as it is measured."""
        return Call(
            sequence=0,
            operation=Operation.CHAT if self.kind == LLM else Operation.EXECUTE_TOOL,
            started_at=datetime.fromtimestamp(self.started, UTC),
            duration_ms=self.duration_ms,
            agent=self.agent,
            tool=self.tool,
            provider=self.provider,
            model=self.model,
            usage=self.usage,
            error_type=self.error_type or ("tool.failed" if self.is_error or self.failed else ""),
            attributes={**self.attributes, **({} if self.cost_usd else {"price": "unknown"})},
            name=name,
        )

    def replay(self, name: str, at: datetime, agent: str) -> Call:
        """The call as it is measured when its record answers it."""
        paid = self.call(name)
        return Call(
            sequence=0,
            operation=paid.operation,
            started_at=at,
            duration_ms=0.0,
            agent=agent or paid.agent,
            tool=paid.tool,
            provider=paid.provider,
            model=paid.model,
            error_type=paid.error_type,
            name=name,
            replayed=True,
        )


_NAMES: Final = tuple(one.name for one in fields(Record))
