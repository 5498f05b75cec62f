"""ClickHouse's own blocks, as its Go client writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.embedded.clickhouse_blocks import BLOCK_BYTES, Blocks, BrokenBlock, decompressed

SQL = b"SELECT 42, '" + b"a" * 44 + b"'"
# Written by compress.Writer of ch-go 0.75, which checks the hash of what it reads.
BY_GO = {
    "lz4": "03616258dde87eb916f2b9050797c17d822900000039000000df53454c4543542034322c20276101000a"
    "000200b06161616161616161616127",
    "zstd": "eef790fe9dae50c470a295cc08cb516e902b0000003900000028b52ffd0400ad00007053454c454354"
    "2034322c2027612701540d0224107078bccd",
    "none": "4a5c79ef76c3b76db0dad99b55296ae802420000003900000053454c4543542034322c2027"
    + "61" * 44
    + "27",
}
MOST = 64 << 20


def written(*pieces: bytes) -> bytes:
    blocks = Blocks()
    for piece in pieces:
        blocks.compress(piece)
    return blocks.finish()


@pytest.mark.parametrize("method", BY_GO)
def test_blocks_of_the_go_client_are_read(method: str) -> None:
    assert decompressed(bytes.fromhex(BY_GO[method]), MOST) == SQL


@given(st.lists(st.binary(max_size=5000)))
def test_what_is_written_is_read_back(pieces: list[bytes]) -> None:
    assert decompressed(written(*pieces), MOST) == b"".join(pieces)


def test_a_large_answer_is_many_blocks() -> None:
    data = bytes(3 * BLOCK_BYTES + 1)
    assert decompressed(written(data), MOST) == data


LZ4 = bytes.fromhex(BY_GO["lz4"])


@pytest.mark.parametrize(
    ("block", "why"),
    [
        pytest.param(LZ4[:20], "cut off", id="head"),
        pytest.param(LZ4[:-1], "size of a block", id="tail"),
        pytest.param(LZ4[:-1] + b"x", "checksum", id="data"),
        pytest.param(LZ4[:17] + b"\xff" * 4 + LZ4[21:], "size of a block", id="size"),
    ],
)
def test_a_broken_block_is_told(block: bytes, why: str) -> None:
    with pytest.raises(BrokenBlock, match=why) as caught:
        decompressed(block, MOST)
    assert str(caught.value).startswith("Code: 271. ")


def test_more_than_is_allowed_is_refused() -> None:
    with pytest.raises(BrokenBlock, match="more than 1000 bytes"):
        decompressed(written(bytes(5000)), 1000)
