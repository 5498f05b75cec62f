"""Notices a process that lives but does not consume, and ends it so that it is started again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from crewstream.runtime.leave import STALLED, leave

if TYPE_CHECKING:
    from crewstream.runtime.application import Application

LIMIT_S = 30.0
START_LIMIT_S = 60.0
"""A first assignment may take longer: members of an earlier run have to time out."""
BEAT_S = 0.5
STANDS_S = 5.0


class Watchdog:
    """Looks every second, from a thread, so that it also sees an event loop that stands."""

    def __init__(self, app: Application, *, limit_s: float = LIMIT_S) -> None:
        self._app, self._limit_s = app, limit_s
        self._since: dict[str, float] = {"not started": time.monotonic()}
        self._seen: dict[Any, Any] = {}
        self._started_s = self._beat_s = time.monotonic()
        self._stopped = threading.Event()

    def problems(self) -> set[str]:
        """What was wrong at the last look."""
        return set(self._since)

    def start(self) -> None:
        """Call in the event loop of the app."""
        self._started_s = time.monotonic()
        self._beat()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _beat(self) -> None:
        self._beat_s = time.monotonic()
        if not self._stopped.is_set():
            asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _watch(self) -> None:
        while not self._stopped.wait(1.0):
            try:
                wrong = self._look()
            except Exception as exc:  # noqa: BLE001  (the loop's thread changes what we read)
                wrong = {f"probe failed: {exc!r}"}
            now_s = time.monotonic()
            self._since = {w: self._since.get(w, now_s) for w in wrong}
            self._judge(now_s)

    def _judge(self, now_s: float) -> None:
        young = now_s - self._started_s < START_LIMIT_S
        limit_s = max(self._limit_s, START_LIMIT_S) if young else self._limit_s
        late = [wrong for wrong, since_s in self._since.items() if now_s - since_s > limit_s]
        if late and not self._stopped.is_set() and self._kafka_is_there():
            leave(STALLED, f"for more than {limit_s:g} s: {'; '.join(sorted(late))}")

    def _kafka_is_there(self) -> bool:
        """While no broker takes a connection a restart would not help, and runs would be lost."""
        for server in self._app.kafka.bootstrap.split(","):
            host, _, port = server.strip().rpartition(":")
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 2.0):
                return True
        return False

    def _look(self) -> set[str]:
        app, consumer, wrong = self._app, self._app.kafka_consumer, set[str]()
        if time.monotonic() - self._beat_s > STANDS_S:
            wrong.add("the event loop stands")
        if not consumer.started:
            return wrong | {"not started"}
        if app.rebalancing or app.in_recovery or not consumer.flow_active:
            wrong |= self._recovery()
        for topic in app.topics.acking_topics:
            if not consumer.topic_partitions(topic):
                wrong.add(f"topic {topic} does not exist")
        if not consumer.generation:
            return wrong | {"no assignment yet"}
        if consumer.books:
            if time.monotonic() - consumer.lease_s > 2 * app.options.session_timeout_s:
                wrong.add("no commit was answered")
            wrong |= self._partitions()
        return wrong

    def _recovery(self) -> set[str]:
        """A long recovery is fine as long as it moves; being unready is told, not judged."""
        consumer = self._app.kafka_consumer
        state = consumer.epoch, dict(consumer.tables.recovery.active_offsets)
        moved, self._seen["recovery"] = self._seen.get("recovery") != state, state
        text = "rebalance or recovery under way"
        if moved:
            self._since.pop(text, None)
        return {text}

    def _partitions(self) -> set[str]:
        consumer, wrong = self._app.kafka_consumer, set[str]()
        takeable = set(consumer.takeable()[0])
        for tp, book in list(consumer.books.items()):
            state = book.next, book.committable()
            if self._seen.get(tp) == state:
                if tp in takeable and consumer.highwater(tp) > book.next:
                    wrong.add(f"{tp.topic}[{tp.partition}] has records and is not read")
                if self._app.stalled(tp, book):
                    wrong.add(f"{tp.topic}[{tp.partition}] has open records and does not move")
            self._seen[tp] = state
        return wrong
