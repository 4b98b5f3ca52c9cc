"""Resuming a parent: statements and time of the decision and the launch, with many children beside few."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bench.perf import fleet
from bench.perf.figures import Figure, PerfError
from coordinator import public_testing


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """Figures queries and ms; the floor of both is the parent with few children."""
    source = fleet.make_repository(Path(settings.STATE_DIR).parent / "source")
    few, many = int(params["few"]), int(params["many"])
    _resumed(source, 1)  # what is imported and remembered on first use belongs to none of both
    floor_queries, floor_ms = _resumed(source, few)
    queries, ms = _resumed(source, many)
    extra = {"children": many, "floor_children": few}
    name = params["name"]
    return [
        Figure(
            name=f"{name}.queries",
            unit="statements",
            value=queries,
            floor=floor_queries,
            goal=floor_queries,
            met=queries <= floor_queries,
            extra=extra,
        ),
        Figure(name=f"{name}.ms", unit="ms", value=ms, floor=floor_ms, extra=extra),
    ]


def _resumed(source: Path, children: int) -> tuple[int, float]:
    """Statements and milliseconds from the nudge to the queued run."""
    parent = public_testing.waiting_parent(source, children=children)
    with CaptureQueriesContext(connection) as seen:
        began = time.perf_counter()
        mode = public_testing.resume(parent)
        ms = (time.perf_counter() - began) * 1000
    if mode != "resume":
        raise PerfError(f"the parent runs in mode {mode}, not to resume")
    return len(seen), ms
