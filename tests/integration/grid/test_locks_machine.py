"""Locks under any order of taking, waiting, giving back, pauses of holders, ends, decisions: the laws hold after each step.

The machine knows four agents and five files. It calls the real service on a real database, a repository of its own for each
example, and keeps nothing but what each agent believes: the token under which it writes a file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from grid import executions, lifecycle
from grid import public_events as events
from grid import public_locks as locks
from grid.locks import reading
from grid.models import Event, Execution, FileLock, LockSpace
from grid.public_errors import LockError, LockFencedError
from grid.public_types import State
from tests.services.runs_of_locks import HOST, lapse, run

pytestmark = pytest.mark.django_db

FILES = ("src/a.py", "src/b.py", "src/c.md", "docs/a.md", "docs/d.md")
PATTERNS: dict[str, tuple[str, ...]] = {
    "src": FILES[:3],
    "src/*.py": FILES[:2],
    "**/a.*": (FILES[0], FILES[3]),
    "./SRC/A.py": (FILES[0],),
    ".": FILES,
    **{name: (name,) for name in FILES},
}
agents = st.integers(0, 3)
wishes = st.sampled_from(sorted(PATTERNS))
modes = st.sampled_from(["write", "write", "read"])
_repositories = itertools.count()


class Machine(RuleBasedStateMachine):
    """Four agents at work in one repository."""

    @initialize()
    def begin(self) -> None:
        """A repository that nobody knows yet."""
        self.repository = f"m{next(_repositories)}"
        self.numbers = itertools.count()
        self.runs: list[Execution] = [self.new_run() for _ in range(4)]
        self.everybody = list(self.runs)
        self.writes: dict[tuple[Any, str], int] = {}
        """Under which token an agent believes that it may write a file."""
        self.latest: dict[str, tuple[int, Any]] = {}
        """Of each file: the latest write lock that anybody was given, and to whom."""
        self.tokens: set[int] = set()
        self.has_lapsed = False
        self.was_decided = False

    def new_run(self) -> Execution:
        """A running execution of nobody's subject."""
        return run(f"{self.repository}:{next(self.numbers)}", repository=self.repository)

    # --- what agents do -----------------------------------------------------------------------------------------------

    @rule(who=agents, wish=wishes, mode=modes, wait=st.booleans())
    def take(self, who: int, wish: str, mode: str, wait: bool) -> None:
        """Ask for a lock."""
        mine = self.runs[who]
        try:
            answer = locks.acquire(mine.pk, fence=mine.token, path=wish, mode=mode, wait=wait)
        except LockFencedError:
            assert self.is_silent(mine)
            return
        assert answer.granted or answer.blockers
        assert answer.granted or mine.pk not in {view.execution_id for view in answer.blockers}
        assert (answer.ticket is not None) == (answer.code == "waiting")
        assert wait or answer.code in ("", "locked")
        self.one_writer()  # to see each grant, also of a rule that goes on and gives it back

    @rule(who=agents, wish=wishes)
    def give_back(self, who: int, wish: str) -> None:
        """Give a lock back, or leave the line."""
        mine = self.runs[who]
        locks.release(mine.pk, fence=mine.token, path=wish)

    @rule(who=agents, other=agents, file=st.sampled_from(FILES))
    def relay(self, who: int, other: int, file: str) -> None:
        """One waits for what another has; that one gives it back, or ends."""
        self.take(who, file, "write", wait=False)
        self.take(other, file, "write", wait=True)
        self.give_back(who, file)
        self.sweep()

    # --- what happens to them -----------------------------------------------------------------------------------------

    @rule(who=agents)
    def pause(self, who: int) -> None:
        """Its host sleeps: nobody renews its lease."""
        lapse(self.runs[who])
        self.has_lapsed = True

    @rule(who=agents)
    def come_back(self, who: int) -> None:
        """Its host wakes up and renews as if nothing had been."""
        executions.renew(host=HOST, tokens={self.runs[who].pk: 1}, slots=1_000)

    @rule(who=agents, other=agents, file=st.sampled_from(FILES))
    def overtake(self, who: int, other: int, file: str) -> None:
        """A holder sleeps, somebody else takes its file, it wakes up and writes on."""
        self.take(who, file, "write", wait=False)
        self.pause(who)
        self.take(other, file, "write", wait=False)
        self.come_back(who)
        self.publish(who, file)

    @rule(who=agents, end=st.sampled_from([State.SUCCEEDED, State.FAILED, State.LOST, State.CANCELLED]))
    def end(self, who: int, end: State) -> None:
        """Its run ends, and another one begins."""
        assert lifecycle.move(self.runs[who].pk, old={State.RUNNING}, new=end, reason="over")
        assert locks.held(execution_id=self.runs[who].pk) == []
        self.runs[who] = self.new_run()
        self.everybody.append(self.runs[who])

    @rule(which=st.integers(0, 20), to=st.one_of(st.none(), agents))
    def decide(self, which: int, to: int | None) -> None:
        """A person takes one away, perhaps for somebody."""
        found = [row.pk for row in FileLock.objects.filter(repository=self.repository, state__in=FileLock.OPEN)]
        if found:
            try:
                chosen = self.runs[to].pk if to is not None else None
                locks.break_lock(found[which % len(found)], actor="cli:ann", reason="so", to=chosen)
                self.was_decided = self.was_decided or to is not None
            except LockError:
                assert to is not None

    @rule()
    def sweep(self) -> None:
        """The periodic pass: from then on whoever waits waits for something."""
        locks.sweep()
        for view in locks.waiting(repository=self.repository):
            assert reading.blockers_of(view.id), f"{view} waits for nothing"
        assert locks.deadlocks(self.repository) == []
        self.has_lapsed = any(map(self.is_silent, self.runs))
        self.was_decided = False

    @rule(who=agents, file=st.sampled_from(FILES))
    def publish(self, who: int, file: str) -> None:
        """It hands in a file that it believes to hold: taken only if nobody had it after it lost it."""
        mine = self.runs[who]
        believed = self.writes.get((mine.pk, file))
        if believed is None:
            return
        token, holder = self.latest[file]
        is_stale = bool(locks.stale_writes(mine.pk, [file]))
        if is_stale:
            assert token > believed or holder != mine.pk
        lost = FileLock.objects.filter(execution=mine.pk, token=believed, state__in=FileLock.LOST).exists()
        if lost and token > believed and holder != mine.pk:
            assert is_stale, f"{file}: {believed} was lost, {holder} has had {token} since"

    def is_silent(self, row: Execution) -> bool:
        """Whether its lease is over."""
        until = Execution.objects.get(pk=row.pk).lease_until
        return until is None or until < timezone.now() + timedelta(seconds=1)

    # --- the laws -----------------------------------------------------------------------------------------------------

    @invariant()
    def one_writer(self) -> None:
        """No file has a writer and anybody else; each token is given once, later ones are higher."""
        if not hasattr(self, "repository"):
            return
        held: dict[str, list[Any]] = {}
        for view in locks.held(repository=self.repository):
            assert view.token > 0
            if view.token not in self.tokens:
                for file in PATTERNS_OF(view.pattern):
                    if view.mode == "write":
                        assert view.token > self.latest.get(file, (0, None))[0]
                        self.latest[file] = (view.token, view.execution_id)
                        self.writes[(view.execution_id, file)] = view.token
                self.tokens.add(view.token)
            for file in PATTERNS_OF(view.pattern):
                held.setdefault(file, []).append(view)
        for file, views in held.items():
            owners = {view.execution_id for view in views}
            assert len(owners) == 1 or all(view.mode == "read" for view in views), f"{file}: {views}"
        given = list(FileLock.objects.filter(repository=self.repository, token__gt=0).values_list("token", flat=True))
        assert len(given) == len(set(given))
        counter = LockSpace.objects.filter(pk=self.repository).values_list("token", flat=True).first() or 0
        assert max(given, default=0) <= counter

    @invariant()
    @precondition(lambda self: not getattr(self, "has_lapsed", True))
    def nobody_waits_for_nothing(self) -> None:
        """As long as every holder is heard of, a free path is handed over at once; circles come of decisions alone."""
        for view in locks.waiting(repository=self.repository):
            assert reading.blockers_of(view.id), f"{view} waits for nothing"
        if not self.was_decided:
            assert locks.deadlocks(self.repository) == []

    def teardown(self) -> None:
        """The log is without a gap, and tells the tables as they are."""
        if not hasattr(self, "repository"):
            return
        told: dict[tuple[str, Any], dict[str, Any]] = {}
        for row in self.everybody:
            found = events.read_stream(row.stream)
            assert [event.seq for event in found] == list(range(1, len(found) + 1))
        streams = [row.stream for row in self.everybody]
        for rows in Event.objects.filter(stream__in=streams).order_by("id").values_list("rows", flat=True):
            for entry in rows or []:
                if entry["table"] in ("grid_filelock", "grid_lockspace"):
                    told.setdefault((entry["table"], entry["id"]), {}).update(entry["set"])
        for lock in FileLock.objects.filter(repository=self.repository):
            said = told[("grid_filelock", lock.pk)]
            assert (said["state"], said["token"], said["mode"], said["pattern"]) == (
                lock.state,
                lock.token,
                lock.mode,
                lock.pattern,
            )


def PATTERNS_OF(text: str) -> tuple[str, ...]:  # noqa: N802 - reads as a table
    """The files of a pattern in its plain form."""
    plain = {"SRC/A.py": "./SRC/A.py"}.get(text, text)
    return PATTERNS[plain]


def run_machine(steps: int, examples: int, *, shrinks: bool = True) -> None:
    """Let Hypothesis drive it."""
    phases = set(Phase) if shrinks else {Phase.generate}
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=phases - {Phase.explain},
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(200)
def test_locks_keep_their_laws_in_any_order() -> None:
    run_machine(steps=25, examples=20)


def without_marking_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: whoever takes a path from a silent holder ends that one's record."""
    monkeypatch.setattr("grid.locks.passing.expire", lambda *_: [])


def without_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: a folder and a file in it are one place."""
    monkeypatch.setattr("grid.locks.rules.overlap", lambda one, other: one.key == other.key)


def without_handing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: what becomes free goes to whoever waits."""
    monkeypatch.setattr("grid.locks.passing.pass_on", lambda *_, **__: [])


def without_stale_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: what was written under a lost lock is refused."""
    monkeypatch.setattr("grid.locks.reading.stale_writes", lambda *_: [])


GUARDS = [without_marking_the_dead, without_overlap, without_handing_over, without_stale_writes]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("remove", GUARDS)
def test_each_guard_counts(remove: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """With one of them away the same machine finds a broken law."""
    remove(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        run_machine(steps=25, examples=60, shrinks=False)
