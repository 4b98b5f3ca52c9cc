"""What the host has done beside its loop: launches and phase ends, one at a time for each execution."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from uuid import UUID

from django.db import DataError, Error, IntegrityError, close_old_connections, connection

CLOSE_SECONDS = 3.0


class Errands:
    """A few threads that work for executions; the loop asks what is busy and collects what is done."""

    def __init__(self, *, threads: int, when_done: Callable[[], object]) -> None:
        self.threads, self.when_done = threads, when_done
        self.pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="grid-errand")
        self.under_way: dict[UUID, Future[None]] = {}

    def __contains__(self, execution_id: object) -> bool:
        return execution_id in self.under_way

    def __bool__(self) -> bool:
        return bool(self.under_way)

    def send(self, execution_id: UUID, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Call a function on a thread, for an execution that no errand is under way for."""

        def run() -> None:
            try:
                close_old_connections()
                function(*args, **kwargs)
            finally:
                self.when_done()

        self.under_way[execution_id] = self.pool.submit(run)

    def collect(self) -> list[tuple[UUID, BaseException | None]]:
        """The executions whose errands are done, each with what went wrong."""
        done = [(pk, future.exception()) for pk, future in self.under_way.items() if future.done()]
        for execution_id, _ in done:
            del self.under_way[execution_id]
        return done

    def close(self) -> None:
        """Let the threads go. Each has a database connection of its own, which only it can close."""
        together = threading.Barrier(self.threads)

        def close() -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(1.0)  # so that no thread takes two of these
            connection.close()

        wait([self.pool.submit(close) for _ in range(self.threads)], timeout=CLOSE_SECONDS)
        self.pool.shutdown(wait=False, cancel_futures=True)


def is_away(error: BaseException) -> bool:
    """Whether the database is to blame: it takes the same a little later. Values that it refuses it never takes."""
    return isinstance(error, Error) and not isinstance(error, (DataError, IntegrityError))
