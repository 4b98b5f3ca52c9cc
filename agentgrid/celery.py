"""The Celery application: where messages go, what a worker loads, what happens when one boots.

A message only wakes somebody up; rows are the truth. So there is no result back end, no remote control, no delayed
message: times live in columns, and a sweep finds what a lost message should have announced.
"""

from __future__ import annotations

import logging.config
import os
import warnings
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging, worker_init
from django.conf import settings
from kombu.transport import TRANSPORT_ALIASES

from agentgrid import hardening
from agentgrid.queues import celery_queues

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentgrid.settings")
TRANSPORT_ALIASES["gridfs"] = "agentgrid.gridfs:Transport"

app = Celery("agentgrid")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = celery_queues()
# A queue nobody declared would be a message nobody reads.
app.conf.task_create_missing_queues = False
# Wake-ups are sent by task name, also from processes that never import the task: the name alone must find the queue.
app.autodiscover_tasks(["bench", "coordinator", "grid"])
# By name: Celery loads it in the worker, where Django is ready. It takes part on the `executions` queue only.
app.steps["worker"].add("grid.host.bootstep:HostStep")
# On the `control` queue only.
app.steps["worker"].add("coordinator.bootstep:ReconcileStep")


@setup_logging.connect
def _use_our_logs(**_: Any) -> None:
    """Keep Celery from installing handlers of its own, and from three lines for every tick (LOG_LEVEL=DEBUG has them)."""
    logging.config.dictConfig(settings.LOGGING)
    if logging.getLogger().level > logging.DEBUG:
        for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)


@celeryd_init.connect
def _run_as_root_without_a_sermon(**_: Any) -> None:
    """In a container root is the usual user; what agents may do is decided by their sandbox."""
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")


@worker_init.connect
def _check_limits(**_: Any) -> None:
    """Not start with a limit that nobody reads."""
    from coordinator import public_api  # noqa: PLC0415 - at import Django is not ready

    public_api.check_limits()


@worker_init.connect
@beat_init.connect
def _harden(**_: Any) -> None:
    hardening.hide_memory()
