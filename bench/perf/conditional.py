"""Acts that are conditional UPDATEs at heart, beside the bare UPDATE in a transaction of its own: locks, budgets.

An act is one of a pair: taking a lock and giving it back are two, setting aside and settling are two. Both sides run in turn,
one after the other, on the same connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from bench.perf import fleet
from bench.perf.figures import Figure, PerfError, percentile
from coordinator import public_testing
from grid import public_locks
from grid.public_testing import spooled
from grid.public_types import AgentSpec, LaunchSpec, Mode, Work

GOAL_RATIO = 0.4


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """The one figure: acts per second."""
    pair = {"locks": _locks, "budget": _budget}[params["of"]]()
    pairs, rounds = int(params["pairs"]), int(params["rounds"])
    update = _bare()
    for act in (pair, update):
        _rate(act, max(1, pairs // 10))  # warm
    values, floors = list[float](), list[float]()
    for _ in range(rounds):
        floors.append(_rate(update, 2 * pairs))
        values.append(2 * _rate(pair, pairs))
    value, floor = percentile(values, 0.5), percentile(floors, 0.5)
    return [
        Figure(
            name=params["name"],
            unit="acts/s",
            value=value,
            floor=floor,
            goal=GOAL_RATIO * floor,
            met=value >= GOAL_RATIO * floor,
            extra={"pairs": pairs, "rounds": values, "floor_rounds": floors},
        )
    ]


def _locks() -> Callable[[], bool]:
    run = spooled(
        LaunchSpec(
            subject="issue:1",
            root="tree:1",
            mode=Mode.WORK,
            agent=AgentSpec(adapter="command", options={"command": "true"}),
            work=Work(repository="none", source="/nowhere", branch="agent/1-x", base="0" * 40),
            prompt="",
        )
    )
    numbers = iter(range(10**9))

    def take_and_give_back() -> bool:
        path = f"src/module_{next(numbers) % 100}.py"
        taken = public_locks.acquire(run.id, fence=run.fence, path=path)
        return taken.granted and public_locks.release(run.id, fence=run.fence, path=path)

    return take_and_give_back


def _budget() -> Callable[[], bool]:
    return public_testing.reserving(fleet.make_repository(Path(settings.STATE_DIR).parent / "source"))


def _bare() -> Callable[[], bool]:
    with connection.cursor() as db:
        db.execute("CREATE TABLE perf_bare (id integer PRIMARY KEY, value integer NOT NULL)")
        db.execute("INSERT INTO perf_bare VALUES (1, 0)")
    values = iter(range(10**9))

    def update() -> bool:
        value = next(values)
        with transaction.atomic(), connection.cursor() as db:
            db.execute("UPDATE perf_bare SET value = %s WHERE id = %s AND value = %s", [value + 1, 1, value])
            return bool(db.rowcount == 1)

    return update


def _rate(act: Callable[[], bool], count: int) -> float:
    began = time.perf_counter()
    if not all(act() for _ in range(count)):
        raise PerfError("an act was refused: the benchmark does not measure what it should")
    return count / (time.perf_counter() - began)
