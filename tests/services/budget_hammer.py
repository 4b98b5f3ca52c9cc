"""Processes that launch, call models, settle and die on one path of budgets, while another looks on at every moment.

    python -m tests.services.budget_hammer PROCESSES SECONDS [GUARD]

Loads Django once, forks, and lets all begin together. A process is killed (SIGKILL, by its own hand) within a launch, between the
reservation and the commit, and right after it, before anybody spawned anything; another takes its place. Prints one JSON
object. GUARD names one that is taken away first: `room` (limits are not looked at), `once` (settling does not look whether it
was done).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import django

django.setup()

from django.db import IntegrityError, connection, transaction  # noqa: E402 - Django must be set up first

from coordinator.models import Agent, Envelope, LedgerEntry, ModelCall, SpendEntry  # noqa: E402
from coordinator.money import budgets, ledger_sql, spend_audit, spending  # noqa: E402
from coordinator.public_types import Usage  # noqa: E402
from coordinator.rules.budget_rules import DIMENSIONS  # noqa: E402
from grid import executions  # noqa: E402
from grid.models import Execution  # noqa: E402
from grid.public_types import ON_HOST, Result, State  # noqa: E402
from tests.factories import launch_spec  # noqa: E402
from tests.services import forks  # noqa: E402

KILLED = -signal.SIGKILL
_LEAST_ACTS = 25


def without(guard: str) -> None:
    """Take a guard away, to see that the hammer notices."""
    if guard == "room":
        every = "id IN ({}) AND %s >= 0 AND %s >= 0"
        for name in ("_TAKE_AT_ONCE", "_TAKE_THOSE"):
            setattr(ledger_sql, name, getattr(ledger_sql, name).replace(ledger_sql._ROOM, every))
    if guard == "once":
        for name in ("_SETTLE_AT_ONCE", "_NEW"):
            setattr(ledger_sql, name, getattr(ledger_sql, name).replace("ON CONFLICT DO NOTHING", ""))


def levels(agent: Agent) -> list[Envelope]:
    """The agent's path with today's day."""
    path = budgets.path_of(agent.envelope)
    return [*path, *Envelope.objects.filter(kind="day")]


def launch(rng: random.Random, agent: Agent) -> str:
    """As `dispatch` does: reservation and queued row in one transaction; may die within it, or right behind it."""
    execution_id = uuid4()
    with transaction.atomic():
        told = budgets.reserve(
            path=levels(agent),
            execution_id=execution_id,
            wall_seconds=rng.randint(1, 50),
            tool_calls=rng.randint(1, 20),
        )
        if told is None:
            return "no room"
        executions.queue(launch_spec(f"issue:{agent.issue_id}:{execution_id}"), execution_id=execution_id)
        if rng.random() < 0.03:
            os.kill(os.getpid(), signal.SIGKILL)
    if rng.random() < 0.03:
        os.kill(os.getpid(), signal.SIGKILL)
    return "launched"


def finish(rng: random.Random, host: str) -> str:
    """Claim what waits, end what runs, settle what has ended: perhaps a second time, and beside somebody else."""
    waiting = executions.next_queued(limit=8)
    if waiting and executions.claim(rng.choice(waiting), host=host) and rng.random() < 0.5:
        return "claimed"
    row = Execution.objects.filter(state__in=sorted(ON_HOST)).order_by("?").first()
    if row is not None:
        executions.end(row.pk, token=row.token, state=State.INTERRUPTED, reason="hammered", result=Result())
    done = Execution.objects.filter(state=State.INTERRUPTED).order_by("-ended_at").values_list("pk", flat=True)[:20]
    return "settled" if done and settle(rng.choice(list(done))) else "settled before"


def settle(execution_id: UUID) -> bool:
    agent = Agent.objects.order_by("pk").first()
    return budgets.settle(execution_id=execution_id, executions=1, wall_seconds=1, tool_calls=1, agent=agent)


def call(rng: random.Random, agent: Agent) -> str:
    """A model call, which may be left open by a death."""
    row = ModelCall(agent=agent, execution_id=uuid4(), provider="anthropic", model="m")
    path = sorted(level.pk for level in levels(agent))
    held = spending.reserve(path=path, call=row, usd_micros=rng.randint(1, 60), tokens=rng.randint(1, 60))
    if isinstance(held, spending.Shortage):
        return "no money"
    if rng.random() < 0.03:
        os.kill(os.getpid(), signal.SIGKILL)
    spending.settle(row.pk, usd_micros=row.reserved_usd_micros // 2, usage=Usage(input_tokens=1))
    return "called"


def hammer(seed: int, seconds: float) -> Counter[str]:
    """What one process did."""
    rng = random.Random(seed)
    agents = list(Agent.objects.select_related("envelope"))

    def act() -> str:
        agent = rng.choice(agents)
        return rng.choice([launch, launch, call])(rng, agent) if rng.random() < 0.6 else finish(rng, "h")

    return forks.again_and_again(act, seconds=seconds, least=_LEAST_ACTS)


def broken() -> list[str]:
    """What breaks the law in one consistent look at the database."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            connection.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        expected, found = spend_audit.expected(), []
        for row in Envelope.objects.all():
            wrong = {name: value for name, value in expected[row.pk].items() if getattr(row, name) != value}
            found += [f"{row.key}: the ledger says {wrong}"] if wrong else []
            for item in DIMENSIONS.values():
                limit = getattr(row, item.limit)
                if limit is not None and item.used(row) > limit:
                    found.append(f"{row.key}: {item.used(row)} of {limit} {item.what}")
            if row.max_live is not None and row.live > row.max_live:
                found.append(f"{row.key}: {row.live} of {row.max_live} live")
    return found


def watch(seconds: float) -> dict[str, Any]:
    """Looks at all of it again and again; says how often, and what was wrong."""
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        connection.transaction_mode = "DEFERRED"  # type: ignore[attr-defined]  # to read one state of it without keeping writers out
    looks, found, began = 0, list[str](), time.monotonic()
    while time.monotonic() - began < seconds or looks < 5:
        found += broken()
        looks += 1
    return {"looks": looks, "broken": found[:5]}


def fire(count: int, seconds: float) -> dict[str, Any]:
    """Let them act and die beside the watcher; returns what they did and what it saw."""
    children, counts, seen = forks.Forks(), Counter[str](), dict[str, Any]()
    watcher = children.fork(partial(watch, seconds))
    for number in range(count):
        children.fork(partial(hammer, number, seconds))
    deadline, seed, kills, failed = time.monotonic() + seconds, count, 0, 0
    for child in children.ends():
        if child.code == KILLED:
            kills += 1
            if (left := deadline - time.monotonic()) > 0:
                seed += 1
                children.fork(partial(hammer, seed, max(0.5, left)))
        elif child.code:
            failed += 1
        elif child.pid == watcher:
            seen = child.said
        else:
            counts.update(child.said)
    return {"counts": counts, "kills": kills, "failed": failed, **seen}


def clear_up(counts: Counter[str]) -> None:
    """What whoever comes later does with what the dead have left."""
    for row in Execution.objects.exclude(state=State.INTERRUPTED):
        if row.state == State.QUEUED:
            executions.claim(row.pk, host="late")
        token = Execution.objects.values_list("token", flat=True).get(pk=row.pk)
        executions.end(row.pk, token=token, state=State.INTERRUPTED, reason="swept", result=Result())
    for execution_id in Execution.objects.values_list("pk", flat=True):
        try:
            settle(execution_id)
        except IntegrityError as error:
            counts[f"database: {str(error)[:80]}"] += 1
    for call_id in ModelCall.objects.filter(state="reserved").values_list("pk", flat=True):
        spending.settle(call_id, usd_micros=None, usage=None)


def found_at_the_end() -> dict[str, Any]:
    """What stands in the rows when everything is settled."""
    held = [
        name
        for row in Envelope.objects.all()
        for name in ("live", "usd_reserved_micros", "tool_calls_reserved")
        if getattr(row, name)
    ]
    root = Envelope.objects.filter(kind="agent").order_by("pk").first()
    spent = sum(SpendEntry.objects.filter(envelope=root, kind="settle").values_list("usd_micros", flat=True))
    return {
        "held": held,
        "broken_at_the_end": broken()[:5],
        "root_is_its_ledger": root is not None and root.usd_spent_micros == spent,
        "runs": Execution.objects.count(),
        "settled": LedgerEntry.objects.filter(envelope=root, kind="settle").count(),
        "reserved": LedgerEntry.objects.filter(envelope=root, kind="reserve").count(),
        "orphans": LedgerEntry.objects.exclude(execution_id__in=Execution.objects.values("pk")).count(),
    }


def main(count: int, seconds: float, guard: str = "") -> int:
    """0 when no process failed; prints the report."""
    without(guard)
    report = fire(count, seconds)
    clear_up(report["counts"])
    print(json.dumps(report | found_at_the_end()))
    return int(bool(report["failed"]))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:4]))
