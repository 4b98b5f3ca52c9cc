"""What is known of the agents of conflicts now. Of many conflicts in as many statements as of one; nothing is locked."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Q, Value, When
from django.utils import timezone

from coordinator.contention import conflict_rows
from coordinator.models import Agent, Conflict, Nudge
from coordinator.public_types import AgentState, Answer
from coordinator.rules.conflict_rules import STANDING, Choice, ConflictState, Kind
from coordinator.rules.conflict_steps import Side, Situation, Wait, next_act
from grid import public_locks as grid_locks
from grid import public_paths as grid_paths
from grid.public_errors import GridError
from grid.public_types import LIVE

_NEEDED = (
    "kind", "state", "choice", "order", "step", "patterns", "requester_id", "holder_id", "arbiter_id", "waiter_id",
    "act_at", "default_at", "announced_at",
)  # fmt: skip
_OF_AGENT = ("pk", "state", "is_applied", "conflict", "decision", "execution_id", "execution__state")


def movable(*, limit: int) -> list[int]:
    """Standing conflicts about which something is due now; a few statements, however many stand.

    Args:
        limit: So many are looked at: those that nobody was told of, or has decided in time, then any of the others: a fork
            stands for hours, and too many of them would keep the rest from its turn.
    """
    if not conflict_rows.any_stands():
        return []
    standing = Conflict.objects.filter(state__in=sorted(STANDING)).only(*_NEEDED)
    is_late = Q(default_at__lte=timezone.now()) | Q(announced_at=None)
    place = Case(When(is_late, state=ConflictState.OPEN, then=Value(0)), default=Value(1))
    rows = list(standing.order_by(place, "?")[:limit])
    known = _known(rows)
    return [row.pk for row in rows if _is_due(row, known)]


def of(row: Conflict) -> Situation:
    """What `next_act` asks about a conflict."""
    return _known([row]).situation(row)


def open_locks(execution_ids: Collection[UUID]) -> dict[UUID, list[grid_paths.LockView]]:
    """What runs have, or stand in line for, by run."""
    found: dict[UUID, list[grid_paths.LockView]] = {}
    for lock in grid_locks.open_of(execution_ids) if execution_ids else ():
        found.setdefault(lock.execution_id, []).append(lock)
    return found


def on_paths(row: Conflict, locks: Sequence[grid_paths.LockView]) -> list[grid_paths.LockView]:
    """Those of these locks that a conflict is about."""
    if row.kind not in (Kind.LOCK, Kind.DEADLOCK):
        return []
    with contextlib.suppress(GridError):
        return [lock for lock in locks if grid_paths.patterns_overlap([lock.pattern], row.patterns)]
    return list(locks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was read for some conflicts."""

    now: datetime
    agents: Mapping[int, Mapping[str, Any]]
    codes: Mapping[int, str | None]
    """Of the answers to nudges that wait, by agent."""
    locks: Mapping[UUID, Sequence[grid_paths.LockView]]
    """By run."""

    def situation(self, row: Conflict) -> Situation:
        """What it means for one of them."""
        run = self.agents[row.holder_id]["execution_id"]
        return Situation(
            now=self.now,
            act_at=row.act_at,
            default_at=row.default_at,
            is_locked=_asks_for_lock(row) and bool(on_paths(row, self.locks.get(run, ()))),
            agents={pk: self._side(pk, row) for pk in _agents_of(row)},
        )

    def _side(self, pk: int, row: Conflict) -> Side:
        agent, code = self.agents[pk], self.codes.get(pk)
        # Who waits because of this very conflict goes on as soon as it is let go.
        is_ours = pk == row.waiter_id and code == "conflict"
        return Side(
            state=AgentState(agent["state"]),
            is_live=agent["execution__state"] in LIVE,
            is_applied=agent["is_applied"],
            code="" if is_ours else code or _refusal(agent),
            has_merge="paths" in agent["conflict"],
        )


def _known(rows: Sequence[Conflict]) -> _Known:
    ids = {pk for row in rows for pk in _agents_of(row)}
    open_nudges = Nudge.objects.filter(agent_id__in=ids, is_open=True)
    agents = {agent["pk"]: agent for agent in Agent.objects.filter(pk__in=ids).order_by().values(*_OF_AGENT)}
    runs = {agents[row.holder_id]["execution_id"] for row in rows if _asks_for_lock(row)} - {None}
    return _Known(
        now=timezone.now(),
        agents=agents,
        codes=dict(open_nudges.values_list("agent_id", "decision__code")),
        locks=open_locks(runs),
    )


def _is_due(row: Conflict, known: _Known) -> bool:
    if row.state == ConflictState.OPEN and row.announced_at is None:
        return True
    kind, sides = Kind(row.kind), conflict_rows.sides(row)
    try:
        situation, decision = known.situation(row), conflict_rows.decision(row)
        return next_act(kind, sides, decision, done=row.step, situation=situation) is not Wait.WAIT
    except Exception:  # whoever does what is due meets it again, and tells of it; the others have their turn
        return True


def _agents_of(row: Conflict) -> set[int]:
    return {pk for pk in (row.requester_id, row.holder_id, row.arbiter_id, *row.order) if pk is not None}


def _asks_for_lock(row: Conflict) -> bool:
    """Whether what is done next depends on the holder's lock."""
    return row.kind in (Kind.LOCK, Kind.DEADLOCK) and row.choice in ("", Choice.RELEASE)


def _refusal(agent: Mapping[str, Any]) -> str:
    """Code of a nudge that was refused: no other one waits, so the agent stays where it is."""
    last = agent["decision"] or {}
    return str(last.get("code", "")) if last.get("answer") == Answer.REFUSED else ""
