"""Wake-ups after a stored delivery, sent by a thread, so that no broker keeps GitHub waiting.

A burst becomes few messages: the tasks take up whatever waits. What a crash loses here, a sweep finds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from coordinator import wake

PAUSE_SECONDS = 0.1
"""Between messages, while a burst gathers; the first delivery after a quiet time does not wait."""


class Waker:
    """A thread that publishes, started by the first need; after a fork there is none until then."""

    def __init__(self, publish: Callable[[Sequence[int]], None], *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._publish, self._pause_seconds = publish, pause_seconds
        self._waiting: SimpleQueue[int] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self, delivery_id: int) -> None:
        """Have a delivery taken up; returns at once."""
        self._waiting.put(delivery_id)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="webhook-waker", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            self._publish(batch)
            time.sleep(self._pause_seconds)


_waker = Waker(wake.publish_deliveries)
wake_delivery = _waker.wake
