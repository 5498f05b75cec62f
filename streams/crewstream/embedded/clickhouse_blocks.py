"""ClickHouse's own compression, which JDBC (DBeaver) and clickhouse-go ask for: compress=1.

Each block: CityHash128 of the rest (16 bytes), method (1), size of what follows the hash (4), size
of the data (4), the data. Source: ClickHouse, src/Compression/CompressedWriteBuffer.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

import cramjam
from clickhouse_cityhash.cityhash import CityHash128

BLOCK_BYTES = 1 << 20
_HASH_BYTES = 16
_HEADER = Struct("<BII")
_LZ4, _ZSTD, _NONE = 0x82, 0x90, 0x02


class BrokenBlock(ValueError):
    """A block whose sizes, hash or method are wrong. In the words of ClickHouse."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Code: 271. DB::Exception: {why}. (CANNOT_DECOMPRESS)")


class Blocks:
    """Writes an answer as blocks, with the methods of cramjam's compressors."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def compress(self, piece: bytes) -> None:
        """Take a piece of the answer."""
        self._waiting += piece

    def flush(self) -> bytes:
        """The blocks of all that was taken since."""
        data, self._waiting = bytes(self._waiting), bytearray()
        starts = range(0, len(data), BLOCK_BYTES)
        return b"".join(_block(data[start : start + BLOCK_BYTES]) for start in starts)

    def finish(self) -> bytes:
        """The last blocks; the format has no end of its own."""
        return self.flush()


def decompressed(body: bytes, most_bytes: int) -> bytes:
    """What blocks hold. Raises BrokenBlock, also for more than `most_bytes` of data."""
    parts, size = [], 0
    for part in _parts(body):
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise BrokenBlock(f"more than {most_bytes} bytes of data")
    return b"".join(parts)


def _block(data: bytes) -> bytes:
    packed = bytes(cramjam.lz4.compress_block(data, store_size=False))
    rest = _HEADER.pack(_LZ4, len(packed) + _HEADER.size, len(data)) + packed
    return _hash(rest) + rest


def _hash(data: bytes) -> bytes:
    number: int = CityHash128(data)
    # Two words, the high one of this number first.
    return (number >> 64).to_bytes(8, "little") + (number & (1 << 64) - 1).to_bytes(8, "little")


def _parts(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        start = at + _HASH_BYTES
        if start + _HEADER.size > len(body):
            raise BrokenBlock("a block is cut off")
        method, packed, size = _HEADER.unpack_from(body, start)
        rest = body[start : start + packed]
        if packed < _HEADER.size or len(rest) < packed or size > BLOCK_BYTES * 64:
            raise BrokenBlock("the size of a block is wrong")
        if body[at:start] != _hash(rest):
            raise BrokenBlock("the checksum of a block is wrong")
        yield _unpacked(method, rest[_HEADER.size :], size)
        at = start + packed


def _unpacked(method: int, data: bytes, size: int) -> bytes:
    if method == _NONE:
        return data
    try:
        if method == _LZ4:
            return bytes(cramjam.lz4.decompress_block(data, output_len=size))
        if method == _ZSTD:
            return bytes(cramjam.zstd.decompress(data, output_len=size))
    except cramjam.DecompressionError as error:
        raise BrokenBlock(str(error)) from error
    raise BrokenBlock(f"method {method:#x} is not known here")
