"""The task that does nothing: the floor beside which the dispatch of agents is measured."""

from __future__ import annotations

import time

from celery import shared_task

from bench.perf import stamps


@shared_task(name="bench.noop")
def noop(*, number: int, **_: object) -> None:
    """Write down when it ran, where a benchmark waits for that; nothing anywhere else."""
    stamps.leave(int(number), time.time_ns())
