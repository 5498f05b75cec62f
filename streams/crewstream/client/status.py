"""Asks the status service (the projector) over HTTP, with nothing but the standard library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import urlopen

from crewstream.errors import CrewstreamError, Invalid, Misconfigured, Unreachable

ANSWER_WITHIN_S = 10.0

Status = Mapping[str, object]


class StatusService:
    """The status of workflows, as the projector tells it. `url` is http(s)://host:port."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise Misconfigured(f"the status service is an http(s) URL, not {url!r}")
        self._url = url.rstrip("/")

    async def one(self, workflow_id: str) -> Status | None:
        """The status of a workflow; None: the service knows none. Raises Unreachable."""
        return await self._ask(f"/v1/workflows/{quote(workflow_id, safe='')}")

    async def many(self, **wanted: str | int) -> Sequence[Status]:
        """Those that the service lists, newest first. Raises Unreachable, Invalid."""
        found: Any = await self._ask("/v1/workflows?" + urlencode(wanted))
        workflows: Sequence[Status] = found["workflows"]
        return workflows

    async def _ask(self, path: str) -> Status | None:
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> Status | None:
        try:
            # The constructor has let through http and https alone.
            with urlopen(self._url + path, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310
                found: Status = json.load(answer)
                return found
        except HTTPError as error:
            with error:
                reason = _reason(error.read())
            if reason and error.code == HTTPStatus.NOT_FOUND:
                return None
            raise self._refused(error.code, reason) from None
        except (URLError, OSError, ValueError) as error:
            raise self._unreachable(getattr(error, "reason", error)) from error

    def _refused(self, code: int, reason: str) -> CrewstreamError:
        if not reason:
            return self._unreachable(f"HTTP {code} is no answer of its")
        ours = code < HTTPStatus.INTERNAL_SERVER_ERROR
        return Invalid(reason) if ours else self._unreachable(reason)

    def _unreachable(self, reason: object) -> Unreachable:
        return Unreachable(
            f"the status service at {self._url} does not answer ({reason}); start it with "
            "`crewstream projector`, or set CREWSTREAM_STATUS_URL"
        )


def _reason(body: bytes) -> str:
    """What the service says is wrong; "" when it is not the service that speaks."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
