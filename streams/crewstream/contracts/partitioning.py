"""Which partition a key belongs to: murmur2, as Kafka's Java client and aiokafka do it."""

from __future__ import annotations

from functools import lru_cache

_M = 0x5BD1E995
_UINT32 = 0xFFFFFFFF
_SEED = 0x9747B28C


@lru_cache(maxsize=4096)
def partition_for(key: bytes, partitions: int) -> int:
    """The partition of a key on a topic with this many partitions.

    Cached: a workflow sends under the same few keys again and again.

    Source: org.apache.kafka.common.utils.Utils.murmur2 and BuiltInPartitioner.partitionForKey.
    """
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(key: bytes) -> int:
    hashed = _SEED ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * _M & _UINT32
        hashed = hashed * _M & _UINT32 ^ ((k ^ k >> 24) * _M & _UINT32)
    if rest := key[whole:]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * _M & _UINT32
    hashed = (hashed ^ hashed >> 13) * _M & _UINT32
    return hashed ^ hashed >> 15
