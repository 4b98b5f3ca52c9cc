"""Database connections that outlive a request.

Under ASGI, Django runs every request in a thread of its own and keeps connections by thread: each request would open a
new one, which costs several times what storing a row does. Here a few are lent to one request after another.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

MANY = 8
"""At a time on a database server. SQLite has one writer: a queue is quicker than its polling for the lock."""


class Lender:
    """Lends connections, each to one thread at a time; who comes when all are lent waits."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self.idle: list[BaseDatabaseWrapper] = []

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[None]:
        """Use a kept connection within this block; a thread that has one of its own goes on with that."""
        if connections.all(initialized_only=True):
            yield
            return
        with self._free:
            lent = self._take()
            connections[DEFAULT_DB_ALIAS] = lent
            try:
                yield
            finally:
                del connections[DEFAULT_DB_ALIAS]
                self.idle.append(lent)

    def close(self) -> None:
        """Close what is idle; the next one who borrows opens a new one."""
        while self.idle:
            self.idle.pop().close()

    def _take(self) -> BaseDatabaseWrapper:
        if not self.idle:
            fresh = connections.create_connection(DEFAULT_DB_ALIAS)
            fresh.inc_thread_sharing()
            return fresh
        lent = self.idle.pop()
        # As Django does before each request: too old, broken by its last use, or to be tried first.
        lent.close_if_unusable_or_obsolete()
        return lent


_is_sqlite = settings.DATABASES[DEFAULT_DB_ALIAS]["ENGINE"].endswith("sqlite3")
lender = Lender(1 if _is_sqlite else MANY)
borrowed = lender.borrowed
