"""Token buckets by key, and how often each was found empty. Pure: `now` is passed in, seconds of a clock that never steps."""

from __future__ import annotations

import threading
from dataclasses import dataclass

_MANY = 2_000
"""Buckets kept; beyond it those that are full again go: they say nothing."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    refused: int = 0


class Rates:
    """So many calls a second for each key, and a burst.

    Args:
        per_second: Calls that come back each second.
        burst: Calls at once after a rest.
    """

    def __init__(self, *, per_second: float, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, key: str, *, now: float) -> float:
        """Take one call out of a key's bucket.

        Returns:
            0 when there was one; else the seconds until there is, and the refusal is counted.
        """
        with self._lock:
            bucket = self._filled(key, now)
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return 0.0
            bucket.refused += 1
            return (1 - bucket.tokens) / self.per_second

    def refusals(self, key: str) -> int:
        """How often the key was refused since the last time this was asked."""
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None:
                return 0
            count, bucket.refused = bucket.refused, 0
            return count

    def _filled(self, key: str, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= _MANY:
                self._forget(now)
            bucket = self._buckets[key] = _Bucket(tokens=float(self.burst), at=now)
        bucket.tokens = min(float(self.burst), bucket.tokens + (now - bucket.at) * self.per_second)
        bucket.at = now
        return bucket

    def _forget(self, now: float) -> None:
        full = self.burst / self.per_second
        rested = [key for key, bucket in self._buckets.items() if now - bucket.at >= full and not bucket.refused]
        for key in rested:
            del self._buckets[key]
