"""Lines of an agent's output from the spool file to committed rows, by one writer: reading, parsing, judging, inserting.

The lines are those of a coding agent's JSON stream: a message, a call of a tool, its answer, 300 to 700 bytes each, and each
becomes a row, the first of each message two. The floor is what cannot be left out: every line parsed twice as JSON (the
shim's record, the agent's line in it), and the same rows inserted by statements of the same size without anything else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from django.db import connection, transaction

from bench.perf.figures import Figure, PerfError, percentile
from grid.public_testing import Spooled, spooled
from grid.public_types import AgentSpec, LaunchSpec, Mode, Work

GOALS = {"sqlite": 20_000.0, "postgresql": 15_000.0}
_ROWS_AT_ONCE = 2_500
_SESSION = "a65394d4-8884-45cf-85c2-db8a8f038519"
_MODEL = "claude-sonnet-4-5"


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """The one figure: median of several rounds; each is a spool of its own, in turn with its floor."""
    lines, rounds = int(params["lines"]), int(params["rounds"])
    rates, floors, cpu = list[float](), list[float](), list[float]()
    rows = size = 0
    for number in range(-1, rounds):  # the first one warms up
        made = _spooled(number)
        count = made.write(_stream(lines))
        size = made.path.stat().st_size
        began, used = time.perf_counter(), time.process_time()
        while made.poll():
            pass
        seconds, used = time.perf_counter() - began, time.process_time() - used
        rows = _rows_of(made)
        if rows != count + (count + 2) // 3:
            raise PerfError(f"{count} lines became {rows} rows instead of {count + (count + 2) // 3}")
        bare = _bare(made)
        if number >= 0:
            rates.append(count / seconds)
            floors.append(count / bare)
            cpu.append(used / count * 1e6)
    value, goal = percentile(rates, 0.5), GOALS[connection.vendor]
    return [
        Figure(
            name=params["name"],
            unit="lines/s",
            value=value,
            floor=percentile(floors, 0.5),
            goal=goal,
            met=value >= goal,
            extra={
                "lines": lines,
                "rows": rows,
                "bytes_per_line": size / lines,
                "cpu_us_per_line": percentile(cpu, 0.5),
                "rounds": rates,
                "floor_rounds": floors,
            },
        )
    ]


def _spooled(number: int) -> Spooled:
    return spooled(
        LaunchSpec(
            subject=f"issue:{uuid4()}",
            root=f"tree:{number}",
            mode=Mode.WORK,
            agent=AgentSpec(adapter="claude", options={"model": _MODEL}),
            work=Work(repository="none", source="/nowhere", branch="agent/1-x", base="0" * 40),
            prompt="",
        )
    )


def _rows_of(made: Spooled) -> int:
    """Events of the agent's output: what the life of the row itself wrote is not counted."""
    with connection.cursor() as db:
        db.execute(
            "SELECT count(*) FROM grid_event WHERE stream = %s AND kind NOT LIKE 'task.%%'", [f"execution:{made.id}"]
        )
        return int(db.fetchone()[0])


def _bare(made: Spooled) -> float:
    """Seconds for the same lines without us."""
    with connection.cursor() as db:
        db.execute("SELECT seq, root, kind, v, body FROM grid_event WHERE stream = %s", [f"execution:{made.id}"])
        rows = [(*row, body if isinstance(body, str) else json.dumps(body)) for *row, body in db]
    text = made.path.read_text()
    began = time.perf_counter()
    for line in text.splitlines():
        json.loads(json.loads(line)["line"])
    stream = f"bare:{made.id}"
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        places = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(some))
        with transaction.atomic(), connection.cursor() as db:
            values = [value for row in some for value in (stream, *row)]
            db.execute(f"INSERT INTO grid_event (stream, seq, root, kind, v, body) VALUES {places}", values)  # noqa: S608
    return time.perf_counter() - began


def _stream(count: int) -> Iterator[str]:
    """What `claude -p --output-format stream-json` prints: a message, a call, an answer, and again."""
    usage = {"input_tokens": 1200, "output_tokens": 1, "cache_read_input_tokens": 400}
    for number in range(count):
        turn, part = divmod(number, 3)
        content: dict[str, Any]
        if part == 2:
            content = {
                "tool_use_id": f"toolu_{turn}",
                "type": "tool_result",
                "content": "def main():\n    return 0\n" * 8,
            }
            message: dict[str, Any] = {"role": "user", "content": [{**content, "is_error": False}]}
        elif part == 1:
            command = {"command": f"sed -n 1,200p src/module_{turn}.py"}
            content = {"type": "tool_use", "id": f"toolu_{turn}", "name": "Bash", "input": command}
            message = {"id": f"msg_{turn}", "role": "assistant", "model": _MODEL, "content": [content], "usage": usage}
        else:
            content = {"type": "text", "text": f"I look at module {turn} and change what the issue asks for."}
            message = {"id": f"msg_{turn}", "role": "assistant", "model": _MODEL, "content": [content], "usage": usage}
        yield json.dumps({"type": message["role"], "message": message, "session_id": _SESSION, "uuid": str(uuid4())})
