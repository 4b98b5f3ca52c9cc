"""Keep floods off the database: a bucket for each token in this process. What is counted exactly is counted in rows."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass

PER_SECOND = 20.0
BURST = 60
_MAX_BUCKETS = 10_000


class Pass(enum.Enum):
    """Whether a request may go on."""

    YES = "yes"
    FIRST_NO = "first no"
    """The first one refused in a row; worth a record."""
    NO = "no"


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    is_closed: bool = False


class Throttle:
    """Token buckets by key, of a bounded number; the one used longest ago is forgotten first."""

    def __init__(self, *, per_second: float = PER_SECOND, burst: int = BURST) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> Pass:
        """Take one place of a key's bucket.

        Args:
            key: Whose; never logged.
            now: Seconds of a clock that never steps.
        """
        bucket = self._buckets.pop(key, None) or _Bucket(left=self._burst, at=now)
        self._buckets[key] = bucket
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            bucket.is_closed = False
            return Pass.YES
        was_closed, bucket.is_closed = bucket.is_closed, True
        return Pass.NO if was_closed else Pass.FIRST_NO
