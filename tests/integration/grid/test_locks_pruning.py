"""Old locks are removed, and nobody who may still ask for them finds anything else than before."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from grid import executions, lifecycle
from grid import public_events as events
from grid import public_locks as locks
from grid.locks import pruning
from grid.models import Event, Execution, FileLock, LockSpace
from grid.public_types import State
from tests.integration.coordinator.at_once import together
from tests.services.runs_of_locks import lapse, run, take

pytestmark = pytest.mark.django_db(transaction=True)
FILES = ("a.py", "b.py", "d/c.py")
PATTERNS = (*FILES, "d", "*.py", ".")
SEEDS = 8
ACTS = 60


def ended(row: Execution, *, days: int = 60) -> Execution:
    """The run ends, and that was long ago."""
    lifecycle.move(row.pk, old={State.RUNNING}, new=State.SUCCEEDED, reason="done")
    Execution.objects.filter(pk=row.pk).update(ended_at=timezone.now() - timedelta(days=days))
    return Execution.objects.get(pk=row.pk)


def before() -> datetime:
    return timezone.now() - timedelta(days=30)


def prune(*subjects: str) -> int:
    return locks.prune(before=before(), settled=set(subjects))


def lost(row: Execution, path: str, *, to: Execution) -> None:
    """Somebody else gets what a run had, as that one was silent."""
    assert take(row, path).granted
    lapse(row)
    assert take(to, path).granted


def test_locks_of_settled_runs_go_and_the_counter_stays() -> None:
    one, other = run("issue:1"), run("issue:2")
    take(one, "a.py")
    take(one, "b.py", mode="read")
    take(other, "a.py", wait=True)
    ended(one), ended(other, days=1)
    token = LockSpace.objects.get().token

    assert locks.old_subjects(before=before()) == {"issue:1"}
    assert prune() == 0, "nobody has said that its work is settled"
    assert prune("issue:1", "issue:2") == 2
    assert list(FileLock.objects.values_list("execution_id", flat=True)) == [other.pk], "that one ended yesterday"

    assert LockSpace.objects.get().token == token
    (event,) = Event.objects.filter(kind="lock.pruned")
    assert (event.stream, event.root, event.body) == (one.stream, one.root, {"count": 2})
    assert prune("issue:1", "issue:2") == 0
    assert Event.objects.filter(kind="lock.pruned").count() == 1
    assert events.streams_with_gaps() == []
    assert take(run("issue:3"), "a.py").lock.token == token + 1


def test_open_locks_stay_whatever_is_said_of_their_run() -> None:
    row = run("issue:1")
    take(row, "a.py")
    Execution.objects.filter(pk=row.pk).update(ended_at=timezone.now() - timedelta(days=60))
    assert prune("issue:1") == 0


def test_who_wrote_later_stays_while_a_run_that_lost_the_lock_may_be_taken() -> None:
    loser, winner, earlier = run("issue:1"), run("issue:2"), run("issue:3")
    take(earlier, "b.py")
    lost(loser, "a.py", to=winner)
    ended(winner), ended(loser), ended(earlier)

    assert prune("issue:2", "issue:3") == 1
    assert [view.pattern for view in locks.stale_writes(loser.pk, ["a.py"])] == ["a.py"]
    assert prune("issue:1", "issue:2", "issue:3") == 2
    assert not FileLock.objects.exists()


def test_a_run_that_ended_lately_counts_as_unsettled() -> None:
    """What is said of its subject was true of an earlier run of it, perhaps."""
    loser, winner = run("issue:1"), run("issue:2")
    lost(loser, "a.py", to=winner)
    ended(winner), ended(loser, days=1)
    assert prune("issue:1", "issue:2") == 0
    assert locks.stale_writes(loser.pk, ["a.py"])


def ask(row: Execution, pattern: str, *, mode: str = "write") -> None:
    """For a lock, with a lease that runs again."""
    executions.renew(host="h", tokens={row.pk: row.token}, slots=99)
    take(row, pattern, mode=mode)


def history(chooser: random.Random, first: int) -> list[Execution]:
    """Runs that took locks and lost some in any order, and have all ended; most of them long ago."""
    live = [run(f"issue:{first + number}") for number in range(4)]
    everyone = list(live)
    for number in range(ACTS):
        row = chooser.choice(live)
        match chooser.choice(["take"] * 5 + ["lapse", "release", "end"] + ["break"] * 3):
            case "take":
                ask(row, chooser.choice(PATTERNS), mode=chooser.choice(["write", "write", "read"]))
            case "lapse":
                lapse(row)
            case "release":
                locks.release(row.pk, fence=row.token, path=chooser.choice(PATTERNS))
            case "break":
                for view in locks.held(execution_id=row.pk)[:1]:
                    locks.break_lock(view.id, actor="cli:me", reason="x")
                    ask(chooser.choice(live), view.pattern)
            case "end":
                ended(row, days=chooser.choice([1, 60, 60]))
                live[live.index(row)] = run(f"issue:{first + 10 + number}")
                everyone.append(live[-1])
    for row in live:
        ended(row)
    return everyone


def test_whoever_may_still_be_published_is_answered_as_before() -> None:
    removed = stale = 0
    for seed in range(SEEDS):
        chooser = random.Random(seed)
        everyone = history(chooser, first=1_000 * seed)
        settled = {row.subject for row in everyone if chooser.random() < 0.6}
        unsettled = [row for row in everyone if row.subject not in settled]

        asked, rows = answers(unsettled), FileLock.objects.count()
        gone = prune(*settled)
        assert answers(unsettled) == asked, f"seed {seed}"
        assert FileLock.objects.count() == rows - gone
        FileLock.objects.all().delete()
        removed, stale = removed + gone, stale + sum(map(len, asked[0]))
    assert removed > 5 and stale > 5, "else this shows nothing"
    assert events.streams_with_gaps() == []


def answers(rows: list[Execution]) -> tuple[list[list[int]], list[list[str]]]:
    """What publication asks about each run."""
    stale = [[view.id for view in locks.stale_writes(row.pk, FILES)] for row in rows]
    return stale, [sorted(locks.kept_to_the_end(row.pk, FILES)) for row in rows]


def test_it_goes_on_from_page_to_page_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, row, other = run("issue:1"), run("issue:2"), run("issue:3", repository="r2")
    for number in range(7):
        take(kept if number < 3 else row, f"f{number}")
    take(other, "a.py")
    ended(kept), ended(row), ended(other)
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    monkeypatch.setattr(pruning, "OF_REPOSITORY", 2)
    found = [prune("issue:2", "issue:3") for _ in range(4)]
    assert (sum(found), found[-1]) == (5, 0), "those that have to stay keep nobody behind them"
    monkeypatch.setattr(pruning, "OF_ALL", 0)
    assert prune("issue:1") == 0


def test_of_two_at_once_each_lock_is_removed_by_one() -> None:
    row = run("issue:1")
    for number in range(9):
        take(row, f"f{number}")
    ended(row)
    assert sum(together(4, lambda _: prune("issue:1"))) == 9
    told = Event.objects.filter(kind="lock.pruned").values_list("rows", flat=True)
    gone = [one["id"] for some in told for one in some]
    assert len(gone) == len(set(gone)) == 9
    assert events.streams_with_gaps() == []
