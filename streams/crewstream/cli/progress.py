"""How people see an installation come up, break and stop: live on a terminal, else in lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.table import Table

from crewstream.embedded.installation import SERVICES
from crewstream.embedded.supervisor import Event, Phase

if TYPE_CHECKING:
    from rich.console import Console

JARS_A_LINE = 10


class Services:
    """Shows what the supervisor tells; `console` writes to stderr.

    Inside the `with` block, while everything starts, a table on a terminal; otherwise, and after
    it, a line for what is ready, has died, is started again or is stopped.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._since_s = time.monotonic()
        self._rows = dict.fromkeys(SERVICES, "waiting")
        self._started_s: dict[str, float] = {}
        self._fetched = self._up = False
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self._table(), console=self.console)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        self._live, self._up = None, True

    @property
    def took_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._since_s

    def jars(self, done: int, total: int) -> None:
        """Kafka's jars come in; called from a thread, and at least once, with all of them."""
        if done < total:
            self._fetched = True
            self._row("kafka", f"fetching its jars, {done} of {total}", say=not done % JARS_A_LINE)
        elif self._fetched:
            self._fetched = False
            self._row("kafka", "has its jars, is being prepared (only this once)")

    def tell(self, event: Event) -> None:
        """Something has happened to a service."""
        if event.phase is Phase.STARTING:
            self._started_s[event.service] = time.monotonic()
        told = {Phase.READY, Phase.DIED, Phase.RESTARTING, Phase.STOPPED}
        self._row(event.service, self._words(event), say=event.phase in told)

    def say(self, line: str) -> None:
        """A line of text."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _row(self, service: str, words: str, *, say: bool = True) -> None:
        self._rows[service] = words
        if self._live:
            self._live.update(self._table())
        elif say:
            self.say(f"{service}: {words}")

    def _words(self, event: Event) -> str:
        if event.phase is Phase.READY:
            took_s = time.monotonic() - self._started_s[event.service]
            return f"ready {'again ' if self._up else ''}after {took_s:.1f} s"
        if event.phase is Phase.DIED:
            # How it ended; its last words are in its log.
            return event.detail.partition(";")[0].removeprefix(f"{event.service} ")
        if event.phase is Phase.RESTARTING:
            return f"starting again in {event.delay_s:g} s"
        return event.phase.value

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for service, words in self._rows.items():
            table.add_row(service, words, style="green" if words.startswith("ready") else "")
        return table
