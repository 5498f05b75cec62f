"""A codec for one kind of event that remembers what it has lately read and written."""

from __future__ import annotations

from typing import Generic, TypeVar

from crewstream.contracts.codec import Codec
from crewstream.contracts.record import Record

R = TypeVar("R", bound=Record)


class Recent(Generic[R]):
    """Encodes and decodes as `codec` does; events are frozen, so the same one may be handed out.

    Between `most` and twice as many events are remembered: the older half is forgotten at once.
    """

    def __init__(self, codec: Codec, model: type[R], most: int = 8192) -> None:
        self._codec, self._model, self._most = codec, model, most
        self._events: dict[bytes, R] = {}
        self._older: dict[bytes, R] = {}

    def encode(self, event: R) -> bytes:
        """The framed value. Raises as `Codec.encode`."""
        value = self._codec.encode(event)
        self._remember(value, event)
        return value

    def decode(self, value: bytes) -> R:
        """The event. Raises as `Codec.decode`."""
        event = self._events.get(value) or self._older.get(value)
        if event is None:
            event = self._codec.decode(value, self._model)
            self._remember(value, event)
        return event

    def _remember(self, value: bytes, event: R) -> None:
        if len(self._events) >= self._most:
            self._older, self._events = self._events, {}
        self._events[value] = event
