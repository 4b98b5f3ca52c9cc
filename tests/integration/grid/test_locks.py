"""Locks over the real service: granted, refused, waited for, handed over, lost, broken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from grid import executions, invariants, lifecycle
from grid import public_events as events
from grid import public_locks as locks
from grid.locks import rules
from grid.models import Execution, FileLock, LockSpace
from grid.public_errors import LockError, LockFencedError, LockLimitError, LockNotFoundError, LockPatternError
from grid.public_types import State
from tests.factories import make_execution
from tests.services.runs_of_locks import lapse, run, take

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair() -> tuple[Execution, Execution]:
    """Two running executions of one repository."""
    return run("issue:1"), run("issue:2")


def kinds(row: Execution) -> list[str]:
    """Of the lock events on an execution's stream."""
    return [event.kind for event in events.read_stream(row.stream) if event.kind.startswith("lock.")]


def test_a_path_has_one_writer(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    assert take(one, "src/app.py", reason="the parser").granted

    answer = take(other, "./src//app.py")

    assert not answer.granted
    assert answer.code == "locked"
    assert [(view.execution_id, view.pattern, view.reason) for view in answer.blockers] == [
        (one.pk, "src/app.py", "the parser")
    ]
    assert kinds(other) == ["lock.refused"]


@pytest.mark.parametrize("spelling", ["src", "SRC/App.py", "src/*.py", "src/app.py/", "**/app.*", "."])
def test_other_spellings_and_what_is_around_it_are_the_same_place(
    pair: tuple[Execution, Execution], spelling: str
) -> None:
    one, other = pair
    take(one, "src/app.py")
    assert not take(other, spelling).granted


def test_readers_share_and_keep_a_writer_out(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    assert take(one, "docs", mode="read").granted
    assert take(other, "docs/a.md", mode="read").granted
    assert not take(run("issue:3"), "docs/a.md").granted


def test_asking_again_changes_nothing(pair: tuple[Execution, Execution]) -> None:
    one, _ = pair
    first, before = take(one, "src").lock, LockSpace.objects.get().token

    again = take(one, "src/deep/below.py").lock

    assert again == first or (again is not None and first is not None and again.token == first.token)
    assert LockSpace.objects.get().token == before
    assert kinds(one) == ["lock.granted"]


def test_a_reader_becomes_the_writer_with_a_later_token(pair: tuple[Execution, Execution]) -> None:
    one, _ = pair
    read = take(one, "a.py", mode="read").lock
    write = take(one, "a.py").lock
    assert read is not None
    assert write is not None
    assert (write.id, write.mode) == (read.id, "write")
    assert write.token > read.token


def test_who_waits_gets_it_with_the_release_and_in_order() -> None:
    holder, second, third = run("issue:1"), run("issue:2"), run("issue:3")
    take(holder, "a.py")
    assert take(second, "a.py", wait=True).code == "waiting"
    assert take(third, "a.py", wait=True).ticket is not None

    assert locks.release(holder.pk, fence=1, path="a.py")

    assert [view.execution_id for view in locks.held(repository="r1")] == [second.pk]
    assert kinds(second) == ["lock.waiting", "lock.handed-over"]
    assert take(second, "a.py").granted
    locks.release(second.pk, fence=1, path="a.py")
    assert [view.execution_id for view in locks.held(repository="r1")] == [third.pk]


def test_a_later_reader_does_not_overtake_a_waiting_writer() -> None:
    reader, writer, late = run("issue:1"), run("issue:2"), run("issue:3")
    take(reader, "a.py", mode="read")
    take(writer, "a.py", wait=True)

    assert not take(late, "a.py", mode="read").granted
    assert take(late, "a.py", mode="read", wait=True).ticket is not None
    locks.release(reader.pk, fence=1, path="a.py")

    assert [view.execution_id for view in locks.held(repository="r1")] == [writer.pk]
    locks.release(writer.pk, fence=1, path="a.py")
    assert [view.execution_id for view in locks.held(repository="r1")] == [late.pk]


@pytest.mark.parametrize("leaves", ["release", "end", "lapse"])
def test_readers_behind_a_writer_that_waits_no_more_have_it_at_once(leaves: str) -> None:
    reader, writer, late = run("issue:1"), run("issue:2"), run("issue:3")
    take(reader, "a.py", mode="read")
    take(writer, "a.py", wait=True)
    take(late, "a.py", mode="read", wait=True)

    if leaves == "release":
        assert locks.release(writer.pk, fence=1, path="a.py")
    elif leaves == "lapse":
        lapse(writer)
        assert locks.sweep() == 1
    else:
        assert lifecycle.move(writer.pk, old={State.RUNNING}, new=State.FAILED, reason="over")

    assert [view.execution_id for view in locks.held(repository="r1")] == [reader.pk, late.pk]


def test_a_lock_that_came_in_the_moment_of_its_runs_end_was_kept_to_it(pair: tuple[Execution, Execution]) -> None:
    """On PostgreSQL: granted after the end had looked what there is to give back, and before it was written."""
    one, other = pair
    take(one, "a.py")
    Execution.objects.filter(pk=one.pk).update(state=State.SUCCEEDED, ended_at=timezone.now())
    take(other, "a.py")

    assert locks.kept_to_the_end(one.pk, ["a.py"]) == {"a.py"}
    assert locks.stale_writes(one.pk, ["a.py"]) == []
    assert kinds(one) == ["lock.granted", "lock.released"]
    assert locks.left_behind() == []


def test_several_readers_get_it_at_once_each_with_a_token_of_its_own() -> None:
    writer, *readers = (run(f"issue:{number}") for number in range(1, 5))
    take(writer, "a.py")
    for reader in readers:
        take(reader, "a.py", mode="read", wait=True)

    locks.release(writer.pk, fence=1, path="a.py")

    held = locks.held(repository="r1")
    assert [view.execution_id for view in held] == [reader.pk for reader in readers]
    assert len({view.token for view in held}) == 3
    assert LockSpace.objects.get().token == max(view.token for view in held)


def test_waiting_twice_is_one_place_in_the_line(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    take(one, "a.py")
    assert take(other, "a.py", wait=True).ticket == take(other, "a.py", wait=True).ticket
    assert locks.release(other.pk, fence=1, path="a.py")
    assert locks.waiting(repository="r1") == []


def test_a_holder_with_a_lapsed_lease_holds_nothing_and_its_token_is_old(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    old = take(one, "a.py").lock
    lapse(one)
    assert locks.held(repository="r1") == []

    new = take(other, "a.py").lock

    assert old is not None
    assert new is not None
    assert new.token > old.token
    executions.renew(host="h", tokens={one.pk: 1}, slots=4)  # it comes back, later than it should
    assert locks.held(execution_id=one.pk) == []
    assert not take(one, "a.py").granted
    assert kinds(one) == ["lock.granted", "lock.expired", "lock.refused"]
    assert [view.token for view in locks.stale_writes(one.pk, ["a.py", "b.py"])] == [old.token]


def test_a_holder_that_comes_back_before_anybody_wants_it_holds_it_still(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    take(one, "a.py")
    lapse(one)
    locks.sweep()
    executions.renew(host="h", tokens={one.pk: 1}, slots=4)

    assert not take(other, "a.py").granted
    assert locks.stale_writes(one.pk, ["a.py"]) == []


def test_a_lapsed_lease_is_seen_by_the_sweep_when_somebody_waits(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    take(one, "a.py")
    take(other, "a.py", wait=True)
    lapse(one)

    assert locks.sweep() == 1

    assert [view.execution_id for view in locks.held(repository="r1")] == [other.pk]


def test_a_lock_with_a_time_of_its_own_ends_by_itself(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    take(one, "a.py", seconds=60)
    assert not take(other, "a.py").granted
    FileLock.objects.update(until=timezone.now() - timedelta(seconds=1))

    assert take(other, "a.py").granted
    assert kinds(one) == ["lock.granted", "lock.expired"]


@pytest.mark.parametrize(
    ("first", "again", "is_changed"), [(60, 600, True), (600, 60, False), (60, None, True), (None, 60, False)]
)
def test_asking_again_makes_a_lock_longer_and_never_shorter(
    pair: tuple[Execution, Execution], first: float | None, again: float | None, is_changed: bool
) -> None:
    one, _ = pair
    take(one, "a.py", seconds=first)
    before = FileLock.objects.get().until
    assert take(one, "a.py", seconds=again).granted
    after = FileLock.objects.get().until
    assert (after != before) == is_changed
    assert after is None or (before is not None and after >= before)


def test_a_folder_that_is_held_for_a_while_does_not_cover_a_file_that_is_wanted_to_the_end(
    pair: tuple[Execution, Execution],
) -> None:
    one, other = pair
    take(one, "src", seconds=60)
    assert take(one, "src/app.py").granted
    FileLock.objects.filter(pattern="src").update(until=timezone.now() - timedelta(seconds=1))
    assert not take(other, "src/app.py").granted
    assert take(other, "src/main.py").granted


@pytest.mark.parametrize("end", [State.SUCCEEDED, State.FAILED, State.LOST, State.QUARANTINED, State.CANCELLED])
def test_every_end_of_a_run_gives_back_and_hands_over(pair: tuple[Execution, Execution], end: State) -> None:
    one, other = pair
    take(one, "a.py")
    take(one, "b.py", mode="read")
    take(other, "a.py", wait=True)

    assert lifecycle.move(one.pk, old={State.RUNNING}, new=end, reason="over", token=1)

    assert locks.held(execution_id=one.pk) == []
    assert [view.pattern for view in locks.held(execution_id=other.pk)] == ["a.py"]
    assert kinds(one) == ["lock.granted", "lock.granted", "lock.released"]
    assert invariants.streams_with_gaps() == []
    assert locks.kept_to_the_end(one.pk, ["a.py", "b.py", "c.py"]) == {"a.py"}
    assert locks.stale_writes(one.pk, ["a.py"]) == []


def test_a_run_that_waits_and_ends_leaves_the_line(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    take(one, "a.py")
    take(other, "a.py", wait=True)
    lifecycle.move(other.pk, old={State.RUNNING}, new=State.FAILED, reason="over")
    assert locks.waiting() == []


def test_two_that_wait_for_each_other_are_told_at_once(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    take(one, "a.py")
    take(other, "b.py")
    take(one, "b.py", wait=True)

    answer = take(other, "a.py", wait=True)

    assert answer.code == "deadlock"
    assert answer.ticket is None
    assert set(answer.circle) == {one.pk, other.pk}
    assert kinds(other)[-1] == "lock.deadlock"
    assert locks.deadlocks("r1") == []


def test_a_decision_gives_it_to_one_that_waits_before_the_first_in_line() -> None:
    holder, first, chosen = run("issue:1"), run("issue:2"), run("issue:3")
    lock = take(holder, "a.py").lock
    take(first, "a.py", wait=True)
    take(chosen, "a.py", wait=True)
    assert lock is not None

    broken = locks.break_lock(lock.id, actor="cli:ann", reason="ann decides", to=chosen.pk)

    assert broken.state == "broken"
    assert [view.execution_id for view in locks.held(repository="r1")] == [chosen.pk]
    assert kinds(holder) == ["lock.granted", "lock.broken"]
    assert [view.token for view in locks.stale_writes(holder.pk, ["a.py"])] == [lock.token]
    with pytest.raises(LockNotFoundError, match="not open any more"):
        locks.break_lock(lock.id, actor="cli:ann", reason="again")


def test_nobody_is_chosen_who_does_not_wait(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    lock = take(one, "a.py").lock
    assert lock is not None
    with pytest.raises(LockError, match="does not wait"):
        locks.break_lock(lock.id, actor="cli:ann", reason="no", to=other.pk)
    assert len(locks.held(repository="r1")) == 1


def test_a_circle_that_a_decision_made_is_resolved_by_the_sweep() -> None:
    one, two, three = run("issue:1"), run("issue:2"), run("issue:3")
    lock = take(one, "a.py").lock
    take(two, "b.py")
    take(two, "a.py", wait=True)
    take(three, "c.py")
    take(three, "a.py", wait=True)
    take(three, "b.py", wait=True)  # three waits for two, and for a.py behind two
    assert lock is not None

    locks.break_lock(lock.id, actor="cli:ann", reason="three first", to=three.pk)
    assert locks.deadlocks("r1") == [[two.pk, three.pk]] or locks.deadlocks("r1") == [[three.pk, two.pk]]
    locks.sweep()

    assert locks.deadlocks("r1") == []


def test_a_sweep_works_out_once_who_waits_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second for a hundred that wait: once for each of them, no sweep would come to its end."""
    holder, asked = run("issue:1"), list[int]()
    take(holder, "a.py")
    for number in range(2, 7):
        take(run(f"issue:{number}"), "a.py", wait=True)
    graph = rules.wait_graph

    def counted(wishes: Sequence[rules.Wish]) -> dict[UUID, set[UUID]]:
        asked.append(len(wishes))
        return graph(wishes)

    monkeypatch.setattr(rules, "wait_graph", counted)
    locks.sweep()
    assert asked == [6]


def test_who_does_not_run_can_hold_nothing() -> None:
    queued, over = make_execution("issue:1"), run("issue:2")
    lifecycle.move(over.pk, old={State.RUNNING}, new=State.SUCCEEDED, reason="done")
    for row, fence in ((queued, 0), (over, 1), (run("issue:3"), 7)):
        with pytest.raises(LockFencedError):
            locks.acquire(row.pk, fence=fence, path="a.py")
        assert locks.release(row.pk, fence=fence, path="a.py") is False
    assert FileLock.objects.count() == 0


def test_caps(pair: tuple[Execution, Execution], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = pair
    monkeypatch.setattr("grid.locks.service.MAX_LOCKS", 3)
    monkeypatch.setattr("grid.locks.service.MAX_WAITS", 2)
    for number in range(3):
        take(one, f"a{number}.py")
    with pytest.raises(LockLimitError, match="release_lock"):
        take(one, "b.py")
    take(other, "a0.py", wait=True)
    take(other, "a1.py", wait=True)
    with pytest.raises(LockLimitError, match="waits for 2"):
        take(other, "a2.py", wait=True)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", "a{b,c}", ".git/hooks", "x" * 401])
def test_what_is_no_path_is_refused_in_words(pair: tuple[Execution, Execution], path: str) -> None:
    with pytest.raises(LockPatternError):
        take(pair[0], path)


def test_repositories_know_nothing_of_each_other() -> None:
    one = run("issue:1")
    other = run("issue:2", repository="r2")
    assert take(one, "a.py").granted
    assert take(other, "a.py").granted


def test_overlapping_names_who_works_there(pair: tuple[Execution, Execution]) -> None:
    one, other = pair
    take(one, "src/[id].tsx".replace("[", "\\[").replace("]", "\\]"))
    take(other, "docs", mode="read")
    assert [view.execution_id for view in locks.overlapping("r1", ["src/[id].tsx", "docs/a.md"])] == [one.pk]
    assert locks.overlapping("r1", ["src/i.tsx"]) == []
    assert locks.overlapping("r1", ["src/[id].tsx"], but={one.pk}) == []
    assert locks.overlapping("r1", ["with\ncontrol"]) == []


def test_events_hold_the_rows_that_they_change(pair: tuple[Execution, Execution]) -> None:
    """A replay of them gives the tables as they are."""
    one, other = pair
    take(one, "a.py", reason="r")
    take(other, "a.py", wait=True)
    take(other, "a.py", mode="read")
    locks.release(one.pk, fence=1, path="a.py")
    lifecycle.move(other.pk, old={State.RUNNING}, new=State.FAILED, reason="over")

    tables: dict[tuple[str, str], dict[str, object]] = {}
    from grid.models import Event

    for event in Event.objects.order_by("id"):
        for row in event.rows or []:
            if row["table"] in ("grid_filelock", "grid_lockspace"):
                tables.setdefault((row["table"], str(row["id"])), {}).update(row["set"])

    assert tables[("grid_lockspace", "r1")] == {"token": LockSpace.objects.get().token}
    stored = FileLock.objects.all()
    assert len(stored) == len(tables) - 1
    for lock in stored:
        said = tables[("grid_filelock", str(lock.pk))]
        assert said.keys() == {field.column for field in FileLock._meta.concrete_fields} - {"id"}
        for name, value in said.items():
            real = getattr(lock, name)
            assert value == (
                real.isoformat() if hasattr(real, "isoformat") else str(real) if isinstance(real, UUID) else real
            )


def test_an_end_that_did_not_happen_leaves_the_counter_as_it_is(pair: tuple[Execution, Execution]) -> None:
    """No event tells of such a turn: a replay would count otherwise."""
    one, _ = pair
    take(one, "a.py")
    before = LockSpace.objects.get().token
    assert not lifecycle.move(one.pk, old={State.RUNNING}, new=State.FAILED, reason="late", token=99)
    assert LockSpace.objects.get().token == before
    assert take(one, "b.py").lock.token == before + 1


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="reads a plan of SQLite")
def test_the_sweep_reads_open_locks_alone(pair: tuple[Execution, Execution]) -> None:
    """Those that are over stay in the table for a month at least."""
    with CaptureQueriesContext(connection) as asked:
        locks.sweep()
    (query,) = [one["sql"] for one in asked.captured_queries if "SELECT DISTINCT" in one["sql"]]
    with connection.cursor() as db:
        db.execute(f"EXPLAIN QUERY PLAN {query}")
        plan = " ".join(str(row) for row in db.fetchall())
        db.execute("SELECT sql FROM sqlite_master WHERE name = 'lock_open_of_repository'")
        (index,) = db.fetchone()
    assert "lock_open_of_repository" in plan and "WHERE" in index, (plan, index)
