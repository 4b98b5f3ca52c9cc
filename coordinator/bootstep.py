"""A `control` worker looks at what was left behind before it takes its first message."""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps
from django.db import connections

from coordinator import sweeps

log = logging.getLogger(__name__)


class ReconcileStep(bootsteps.StartStopStep):
    """One sweep at the start: messages that waited meanwhile are about rows as they are, not as they were."""

    requires = ("celery.worker.components:Pool",)  # forked by now: no child gets our connection

    def include_if(self, worker: Any) -> bool:
        """Only in a worker that decides."""
        return "control" in worker.app.amqp.queues.consume_from

    def start(self, worker: Any) -> None:
        """Sweep; whatever goes wrong, the next regular sweep comes within seconds."""
        try:
            found = sweeps.sweep()
        except Exception as error:
            log.warning("not reconciled at the start", extra={"action": "sweep", "error": str(error)[:200]})
            return
        finally:
            connections.close_all()
        log.info("reconciled", extra={"action": "sweep", **found})
