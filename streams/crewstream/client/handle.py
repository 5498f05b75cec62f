"""A workflow in the hands of another service: its status, and the result that is waited for."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from crewstream.client.results import Arrival, Results
from crewstream.client.status import Status, StatusService
from crewstream.contracts.events import WorkflowFinished
from crewstream.errors import Unreachable

# A result that does not come within this time may be older than the handle: then we look back.
LOOK_BACK_AFTER_S = 2.0
# How much the clocks of the coordinator and of the brokers may differ.
CLOCK_SKEW = timedelta(minutes=5)


class Handle:
    """One workflow. Made by `Client.submit` and `Client.handle`."""

    def __init__(
        self,
        workflow_id: str,
        project: str,
        results: Results,
        status: StatusService,
        arrival: Arrival | None = None,
        *,
        may_be_old: bool = True,
    ) -> None:
        self.workflow_id = workflow_id
        self.project = project
        self._results = results
        self._status = status
        self._arrival = arrival
        self._may_be_old = may_be_old

    async def status(self) -> Status | None:
        """Where the workflow is, as the status service knows it; None: it knows none.

        Raises Unreachable.
        """
        return await self._status.one(self.workflow_id)

    async def result(self, timeout_s: float | None = None) -> WorkflowFinished:
        """The result, however the workflow ended, and whenever. `timeout_s` None waits forever.

            finished = await handle.result(timeout_s=300)
            if finished.status is not WorkflowStatus.COMPLETED: ...

        May be called again. Raises TimeoutError, Unreachable.
        """
        async with asyncio.timeout(timeout_s):
            arrival = await self._results.expect(self.workflow_id)
            # Only the future that was there before the request was sent cannot have missed it.
            if arrival is not self._arrival:
                self._arrival, self._may_be_old, patience_s = arrival, True, 0.0
            else:
                patience_s = LOOK_BACK_AFTER_S
            if found := await self._past(arrival, patience_s):
                return found
            return await asyncio.shield(arrival)

    async def _past(self, arrival: Arrival, patience_s: float) -> WorkflowFinished | None:
        if not self._may_be_old:
            return None
        await asyncio.wait([arrival], timeout=patience_s)
        if arrival.done():
            return None
        found = await self._results.find(self.workflow_id, await self._since())
        if found and not arrival.done():
            arrival.set_result(found)
        return found

    async def _since(self) -> datetime | None:
        """Before this time there is no result; None when nobody can tell."""
        try:
            state = await self.status()
        except Unreachable:
            return None
        if state is None:
            return None
        return datetime.fromisoformat(str(state["accepted_at"])) - CLOCK_SKEW
