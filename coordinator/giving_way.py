"""Acts that the database may refuse because another transaction was in the way, and that are simply done again.

PostgreSQL ends one of two transactions that wait for each other's rows. A task that it hits is found again by the sweeps;
a person's command, or a decision, has nobody who comes back to it.
"""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable

from django.db import OperationalError, connection

log = logging.getLogger(__name__)
TRIES = 5
_FIRST_PAUSE_SECONDS = 0.05
_GAVE_WAY = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialisation failure and of a deadlock.
https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html"""


def done_again[**P, R](act: Callable[P, R]) -> Callable[P, R]:
    """Have an act that is one transaction done again, a few times, when the database undid it in favour of another one.

    Inside a transaction of the caller nothing is tried again: that one is undone as a whole, and its owner must begin anew.
    """

    @functools.wraps(act)
    def tried(*args: P.args, **kwargs: P.kwargs) -> R:
        for number in range(TRIES - 1):
            try:
                return act(*args, **kwargs)
            except OperationalError as error:
                if connection.in_atomic_block or not gave_way(error):
                    raise
                log.warning("done again", extra={"action": "gave_way", "act": act.__name__, "error": str(error)[:200]})
            # Two that gave way to each other must not meet again.
            time.sleep(_FIRST_PAUSE_SECONDS * 2**number * random.uniform(0.5, 1.5))  # noqa: S311 - guards nothing
        return act(*args, **kwargs)

    return tried


def gave_way(error: BaseException) -> bool:
    """Whether the database undid a transaction for the sake of another one, so that doing it again may go well."""
    return getattr(error.__cause__, "sqlstate", None) in _GAVE_WAY
