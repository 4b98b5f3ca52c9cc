"""Ties the host to a Celery worker: it lives in the main process of the worker that consumes `executions`."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import bootsteps

from grid.conf import conf
from grid.host import identity
from grid.host.loop import HostLoop

log = logging.getLogger(__name__)


class HostStep(bootsteps.StartStopStep):
    """Starts the host with the worker and drains it before the worker leaves, warm or cold."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.host: HostLoop | None = None
        self.lock_fd = -1

    def include_if(self, worker: Any) -> bool:
        """Only in a worker that runs agents."""
        return "executions" in worker.app.amqp.queues.consume_from

    def start(self, worker: Any) -> None:
        """Take the state folder, adopt what runs in it, go on from there."""
        settings = conf()
        self.lock_fd = identity.lock(settings)
        self.host = HostLoop(name=identity.host_name(settings), slots=settings.slots)
        self.host.start()
        log.info("host started", extra={"action": "host", "host": self.host.name, "slots": settings.slots})

    def stop(self, worker: Any) -> None:
        """Let every agent checkpoint; blocks the worker's exit for at most `drain_seconds`."""
        if self.host is None:
            return
        self.host.drain(seconds=conf().drain_seconds)
        log.info("host drained", extra={"action": "host", "host": self.host.name})
        self.host = None
        os.close(self.lock_fd)

    def terminate(self, worker: Any) -> None:
        """A cold shutdown would skip `stop`."""
        self.stop(worker)
