"""What Redis says while it starts, fails over or is full: the same command may succeed later."""

from __future__ import annotations

from typing import Final

from redis import exceptions as redis_errors

AWAY: Final = (
    OSError,
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
)
