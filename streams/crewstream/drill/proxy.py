"""A network that can be cut: passes bytes on between a port of its own and a server."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum
from typing import Self

from crewstream.embedded.loopback import HOST

CHUNK_BYTES = 256 * 1024


class Cut(StrEnum):
    """How a connection is cut: nothing comes through any more, or both ends are told at once."""

    SILENCE = "silence"
    RESET = "reset"


class Proxy:
    """Stands at `port` in front of `server_port` while it is entered.

    What was on its way when it was silenced arrives after `mend`, as it does in TCP.
    """

    def __init__(self, server_port: int, port: int) -> None:
        self.server_port, self.port = server_port, port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._drop()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def cut(self, how: Cut) -> None:
        """Let nothing through from now on."""
        if how is Cut.SILENCE:
            self._flowing.clear()
        else:
            self._refusing = True
            self._drop()

    def mend(self) -> None:
        """Let everything through again."""
        self._flowing.set()
        self._refusing = False

    def _drop(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self.server_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
        # An end of either side is the end of both: no protocol behind us leaves one half open.
        writer.close()
