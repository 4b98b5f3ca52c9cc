"""The query for waiting parents that are due, with very many agents, beside few. What is timed is the sweep's own call.

The rows are made by one INSERT in the database itself. Of the table of agents only: nobody reads their issues here, and
foreign keys are not checked meanwhile. One row in ten waits for a later time, the others are done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import DateTimeField, Field
from django.db.models.fields import NOT_PROVIDED
from django.utils import timezone

from bench.perf.figures import Figure, PerfError, percentile, spread
from coordinator import public_api as coordinator

GOAL_MS = 5.0
GOAL_RATIO = 2.0
"""Not slower than this with a hundred times the rows: flat."""
LIMIT = 200
"""As many as one sweep looks at."""
_SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})",
    "postgresql": "WITH series(n) AS (SELECT generate_series(1, {count}))",
}


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """The one figure: median with many agents; its floor is the median with few."""
    due, samples = int(params["due"]), int(params["samples"])
    few, _ = _timed(int(params["few"]), due=due, samples=samples)
    many, filled_in = _timed(int(params["many"]), due=due, samples=samples)
    value, floor = percentile(many, 0.5), percentile(few, 0.5)
    return [
        Figure(
            name=params["name"],
            unit="ms",
            value=value,
            floor=floor,
            goal=GOAL_MS,
            met=value < GOAL_MS and value <= GOAL_RATIO * floor,
            extra={
                "agents": params["many"],
                "floor_agents": params["few"],
                "due": due,
                "samples": samples,
                "spread": spread(many),
                "floor_spread": spread(few),
                "insert_seconds": filled_in,
            },
        )
    ]


def _timed(count: int, *, due: int, samples: int) -> tuple[list[float], float]:
    """Milliseconds of each query over `count` agents, and the seconds it took to make them."""
    began = time.perf_counter()
    _fill(count, due=due)
    filled_in = time.perf_counter() - began
    found = coordinator.due_parents(limit=LIMIT)  # warm
    if len(found) != due:
        raise PerfError(f"{len(found)} parents are due instead of {due}: the benchmark's rows do not fit the query")
    times = []
    for _ in range(samples):
        began = time.perf_counter()
        coordinator.due_parents(limit=LIMIT)
        times.append((time.perf_counter() - began) * 1000)
    return times, filled_in


def _fill(count: int, *, due: int) -> None:
    """Replace the agents by `count` new ones, of which `due` are waiting and due, spread over all."""
    model = apps.get_model("coordinator", "Agent")
    now = timezone.now()
    later, past = now + timedelta(days=1), now - timedelta(minutes=1)
    of_state = f"CASE WHEN n % {count // due} = 0 OR n % 10 = 1 THEN 'waiting' ELSE 'done' END"
    of_due = f"CASE WHEN n % {count // due} = 0 THEN {{past}} WHEN n % 10 = 1 THEN {{later}} END"
    varying = {"id": "n", "issue_id": "n", "envelope_id": "n", "repository_id": "1", "state": of_state}
    given = {"path": "1", "branch": "agent/1-x"}
    columns, values, params = [], [], []
    for field in model._meta.concrete_fields:
        column = field.column or ""
        if column == "resume_due_at":
            moment = _parameter(field)
            value = of_due.format(past=moment, later=moment)
            params += [_prepared(field, past), _prepared(field, later)]
        elif column in varying:
            value = varying[column]
        elif field.db_default is not NOT_PROVIDED:
            continue
        else:
            value = _parameter(field)
            params.append(_prepared(field, given.get(column, field.get_default())))
        columns.append(connection.ops.quote_name(column))
        values.append(value)
    table = connection.ops.quote_name(model._meta.db_table)
    # Built of our own column names and numbers; everything else is a parameter.
    source = _SERIES[connection.vendor].format(count=count)
    insert = f"INSERT INTO {table} ({', '.join(columns)}) {source} SELECT {', '.join(values)} FROM series"  # noqa: S608
    _unchecked(f"DELETE FROM {table}", insert.replace("n %", "n %%"), params)  # noqa: S608 - our own table's name


def _unchecked(clear: str, insert: str, params: list[Any]) -> None:
    """Run both without looking at foreign keys, then have the planner look at the table."""
    with connection.cursor() as db:
        if connection.vendor == "postgresql":
            db.execute("SET session_replication_role = replica")
        else:
            db.execute("PRAGMA foreign_keys = OFF")
        db.execute(clear)
        db.execute(insert, params)
        db.execute("ANALYZE")


def _parameter(field: Field[Any, Any]) -> str:
    """A placeholder; within a CASE, PostgreSQL has to be told that a text is a time, and SQLite must not."""
    if connection.vendor == "postgresql" and isinstance(field, DateTimeField):
        return f"CAST(%s AS {field.db_type(connection)})"
    return "%s"


def _prepared(field: Field[Any, Any], value: Any) -> Any:
    return field.get_db_prep_save(value, connection)
