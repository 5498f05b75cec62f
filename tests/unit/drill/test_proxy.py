"""The network that can be cut, with real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crewstream.drill.proxy import Cut, Proxy
from crewstream.embedded.loopback import HOST, free_port


@asynccontextmanager
async def echo_behind_a_proxy() -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Proxy(port, free_port()) as proxy:
        yield proxy


async def exchanged(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], word: bytes, within_s: float
) -> bytes:
    reader, writer = streams
    writer.write(word)
    return await asyncio.wait_for(reader.readexactly(len(word)), within_s)


async def test_bytes_pass_both_ways() -> None:
    async with echo_behind_a_proxy() as proxy:
        streams = await asyncio.open_connection(HOST, proxy.port)
        assert await exchanged(streams, b"hello", 5) == b"hello"
        streams[1].close()


async def test_what_was_silenced_arrives_when_the_network_is_back() -> None:
    async with echo_behind_a_proxy() as proxy:
        streams = await asyncio.open_connection(HOST, proxy.port)
        proxy.cut(Cut.SILENCE)
        with pytest.raises(TimeoutError):
            await exchanged(streams, b"hello", 0.2)
        proxy.mend()
        assert await asyncio.wait_for(streams[0].readexactly(5), 5) == b"hello"
        streams[1].close()


async def test_a_reset_ends_what_is_open_and_refuses_what_is_new_until_it_is_mended() -> None:
    async with echo_behind_a_proxy() as proxy:
        old = await asyncio.open_connection(HOST, proxy.port)
        await exchanged(old, b"hello", 5)
        proxy.cut(Cut.RESET)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await exchanged(old, b"hello", 5)
        new = await asyncio.open_connection(HOST, proxy.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await exchanged(new, b"hello", 5)
        proxy.mend()
        again = await asyncio.open_connection(HOST, proxy.port)
        assert await exchanged(again, b"hello", 5) == b"hello"
        again[1].close()
