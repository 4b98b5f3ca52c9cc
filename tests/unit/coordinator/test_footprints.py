"""What follows from the locks and footprints of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from coordinator.public_errors import InvalidInputError
from coordinator.rules.footprints import (
    MOST_PATIENCE,
    PATIENCE,
    LockMode,
    Neighbour,
    Standing,
    Verdict,
    at_most,
    checked,
    in_the_way,
    in_words,
    judge,
    lockable,
    of,
    waited,
)
from grid.public_paths import LockView, patterns_overlap

NOW = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
LOCK = LockView(
    id=1,
    repository="r1",
    pattern="app.py",
    mode="write",
    state="held",
    execution_id=UUID(int=1),
    subject="issue:1",
    token=3,
    since=NOW,
    until=NOW,
)
NOTHING, LOCKED, STALE = Standing(), Standing(locked=[LOCK]), Standing(stale=[LOCK])
NO_TIME = timedelta()


@pytest.mark.parametrize(
    ("standing", "mode", "since", "expected"),
    [
        (NOTHING, LockMode.ENFORCED, NO_TIME, Verdict.TAKE),
        (LOCKED, LockMode.OFF, NO_TIME, Verdict.TAKE),
        (STALE, LockMode.OFF, NO_TIME, Verdict.TAKE),
        (LOCKED, LockMode.ADVISORY, NO_TIME, Verdict.RECORD),
        (STALE, LockMode.ADVISORY, NO_TIME, Verdict.RECORD),
        (LOCKED, LockMode.ENFORCED, NO_TIME, Verdict.WAIT),
        (LOCKED, LockMode.ENFORCED, PATIENCE, Verdict.ASK),
        (LOCKED, LockMode.ENFORCED, MOST_PATIENCE, Verdict.RECORD),
        (STALE, LockMode.ENFORCED, NO_TIME, Verdict.REFUSE),
        (STALE, LockMode.ENFORCED, MOST_PATIENCE, Verdict.REFUSE),
        (Standing(stale=[LOCK], locked=[LOCK]), LockMode.ENFORCED, NO_TIME, Verdict.REFUSE),
    ],
)
def test_what_becomes_of_work(standing: Standing, mode: LockMode, since: timedelta, expected: Verdict) -> None:
    assert judge(standing, mode=mode, waited=since) == expected


def test_how_long_an_end_has_waited() -> None:
    assert waited(NOW - PATIENCE, NOW) == PATIENCE
    assert waited(NOW + PATIENCE, NOW) == NO_TIME, "a clock that was put back"
    assert waited(None, NOW) == NO_TIME


def test_a_footprint_is_read_leniently_and_checked_strictly() -> None:
    assert of({"footprint": ["./src//a.py", "/etc", 5, "src/*"]}) == ("src/a.py", "src/*")
    assert of({}) == of({"footprint": "src"}) == of({"footprint": None}) == ()
    assert checked(["src/", "./src", "docs/*"]) == ["src", "docs/*"]
    with pytest.raises(InvalidInputError, match="footprint: '/etc' is absolute"):
        checked(["src", "/etc"])
    with pytest.raises(InvalidInputError, match="at most 50"):
        checked(f"f{number}" for number in range(51))


def test_who_is_in_the_way() -> None:
    parser = Neighbour(agent_id=1, name="1.1 The parser", patterns=("docs", "src/**"))
    printer = Neighbour(agent_id=2, name="1.2 The printer", patterns=("out",))
    found = in_the_way(["src/app.py"], [parser, printer])
    assert [(other.agent_id, pattern) for other, pattern in found] == [(1, "src/**")]
    assert in_words(found) == "1.1 The parser (src/**)"
    assert in_words([]) == ""


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (4, ["a/b/c.py", "a/b/d.py", "a/e.py", "f.py"]),
        (3, ["a/b", "a/e.py", "f.py"]),
        (2, ["a", "f.py"]),
        (1, ["."]),
    ],
)
def test_of_too_many_paths_their_folders_cover_them_all(most: int, expected: list[str]) -> None:
    paths = ["a/b/c.py", "a/b/d.py", "a/e.py", "f.py"]
    assert at_most(paths, most) == expected
    assert all(patterns_overlap([path], expected) for path in paths)
    assert at_most([], most) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/[id].tsx", "src/[id].tsx"),
        ("src/a\x01b/c.py", "src"),
        (f"src/{'x' * 390}/{'y' * 20}", f"src/{'x' * 390}"),
        ("/".join(["a"] * 70), "/".join(["a"] * 60)),
        ("a\nb", "."),
    ],
)
def test_a_name_that_nobody_can_lock_counts_as_the_folder_above_it(path: str, expected: str) -> None:
    assert lockable(path) == expected
