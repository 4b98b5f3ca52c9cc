"""This process as a carrier of model calls: one row, and a word every few seconds that it lives.

When it dies, the sweep of another process hears nothing of it any more and settles what it carried.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

from django.db import Error as DatabaseError
from django.db import connection
from django.db.models.functions import Now

from coordinator.models import GatewayProcess

log = logging.getLogger(__name__)
BEAT_SECONDS = 5.0
_lock = threading.Lock()
_mine: dict[int, tuple[UUID, float]] = {}
"""By process id, as a forked process is another one: its id, and when it last said that it lives, by the monotonic clock."""


def here() -> UUID:
    """Id of this process, known to the database from the first call on. Call it outside any transaction."""
    owner, at = _mine.get(os.getpid(), (None, 0.0))
    if owner is not None and time.monotonic() - at < BEAT_SECONDS:
        return owner
    with _lock:
        owner, at = _mine.get(os.getpid(), (None, 0.0))
        if owner is None or time.monotonic() - at >= BEAT_SECONDS:
            owner = _stamp(owner or uuid4())
        return owner


@contextlib.contextmanager
def beating() -> Iterator[None]:
    """Say all the time that this process lives, also while its calls take long and no new one comes."""
    end = threading.Event()
    thread = threading.Thread(target=_beat, args=(end,), name="gateway-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(BEAT_SECONDS)


def _beat(end: threading.Event) -> None:
    while not end.wait(BEAT_SECONDS):
        owner, _ = _mine.get(os.getpid(), (None, 0.0))
        if owner is None:
            continue  # it carries nothing yet
        try:
            with _lock:
                _stamp(owner)
        except DatabaseError as error:
            log.warning("no heartbeat", extra={"action": "gateway", "error": str(error)[:300]})
        finally:
            connection.close()  # it would be idle until the next time


def _stamp(owner: UUID) -> UUID:
    at = time.monotonic()
    if not GatewayProcess.objects.filter(pk=owner).update(heartbeat_at=Now()):
        GatewayProcess.objects.create(pk=owner, host=socket.gethostname()[:100], pid=os.getpid())
    _mine[os.getpid()] = (owner, at)
    return owner
