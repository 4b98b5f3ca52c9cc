"""Law 3 under 8 processes that take, wait for, give back and lose locks of the same files, on both databases."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.services import forks

PROCESSES, SECONDS = 8, 2
ASK = """
from grid import public_events, public_locks; import json;
print(json.dumps([len(public_locks.double_writers()), public_locks.tokens_above_counter(), public_events.streams_with_gaps()]))
"""


def hammer(stack, tmp_path: Path, *more: str) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    doubles: list[str] = []
    for report in forks.run("tests.services.hammer_locks", PROCESSES, SECONDS, tmp_path, *more, env=stack.env):
        counts.update(report["counts"])
        doubles += report["doubles"]
    return counts, doubles


@pytest.mark.timeout(180)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_never_two_writers_of_one_file(new_stack, tmp_path, database):
    stack = new_stack(database=database)
    counts, doubles = hammer(stack, tmp_path)
    assert doubles == []
    # The test is worth something only if the processes really met.
    assert min(counts[what] for what in ("granted", "locked", "waiting", "released", "ended")) > 5, counts
    assert not [what for what in counts if what.startswith("database")], counts
    assert json.loads(stack.manage("shell", "-v0", "-c", ASK).stdout) == [0, [], []]


@pytest.mark.timeout(180)
def test_the_hammer_notices_a_missing_turn(new_stack, tmp_path):
    """The mutation run, on the database where transactions really run at once."""

    def doubles() -> list[str]:
        return hammer(new_stack(database="postgres", is_replayed=False), tmp_path, "--without-turn")[1]

    # Two have to meet within a millisecond: on a machine that is busy with other things not every hammering sees it.
    assert any(doubles() for _ in range(5))
