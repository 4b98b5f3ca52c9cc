"""Conflicts: opened by a refused lock, an overlap, a merge or a deadlock; announced to everybody; decided.

`from_lock`, `from_deadlock` and `from_overlap` open one, or join the one that stands; so does `conflict_merges.from_merge`. It is announced in a thread with the two
and their arbiter, who is nudged. `decide` stores a decision; `coordinator.ending.resolutions` carries it out, and takes the
default when nobody has decided in time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from coordinator import auditing, wake
from coordinator.care import repositories
from coordinator.conf import conf
from coordinator.contention import conflict_rows, conflict_words, neighbours
from coordinator.documents.policy import EffectivePolicy
from coordinator.documents.untrusted import one_line, printable
from coordinator.giving_way import done_again
from coordinator.models import Agent, Conflict, Nudge, RepositoryPolicy
from coordinator.public_errors import AgentNotFoundError, CoordinatorError, InvalidInputError, NotAllowedError
from coordinator.public_types import ENDED
from coordinator.rules import conflict_rules as rules
from coordinator.rules.conflict_rules import APART, STANDING, Choice, ConflictState, Kind
from coordinator.rules.footprints import FootprintMode
from coordinator.teamwork import conflict_talk, threads
from grid.public_paths import LockView
from grid.public_sql import Prepared
from grid.public_types import EventView

MAX_WORDS = 1_000
DEFAULT, POLICY, GRID = "default", "policy", "grid"
_WAITING = 200
# Who waits for an arbiter's decision is told so by its next one.
_FOR_NEIGHBOURS = Prepared(
    lambda: (
        Nudge.objects.filter(is_open=True, decision__code=neighbours.CODE)
        .exclude(agent__conflicts_waited_for__state__in=sorted(STANDING))
        .order_by("pk")
        .values_list("agent_id", "agent__repository_id")[:_WAITING]
    )
)
_HOLDERS = 20
"""Of a wish for the whole repository; who is left is met when it is asked for again."""
_NO_LONGER = frozenset({ConflictState.CANCELLED})


def from_lock(
    requester: Agent, blockers: Sequence[LockView], *, path: str, reason: str, kind: Kind = Kind.LOCK
) -> Conflict | None:
    """A running agent was refused a lock: open a conflict with each agent that has it; call it outside any transaction.

    Args:
        requester: Who asked.
        blockers: What stands against it.
        path: What it asked for.
        reason: Why it wants it, in its own words.
        kind: `deadlock` when waiting would have closed a circle.

    Returns:
        The first of them; None when no agent of ours holds any of the locks.
    """
    runs = {lock.execution_id for lock in blockers}
    first = _with_each(requester, runs, path=path, reason=reason, kind=kind)
    if first is not None:
        first.refresh_from_db()
    return first


def from_deadlock(event: EventView) -> bool:
    """An event `lock.deadlock`: a circle was found while a run stood in line; returns whether a conflict was opened.

    Where a tool's call would have closed the circle, that call has opened the conflict already.
    """
    run = event.stream.removeprefix("execution:")
    circle, path = [str(one) for one in event.body.get("circle") or ()], str(event.body.get("path") or "")
    agent = Agent.objects.filter(execution_id=run).first()
    if agent is None or run not in circle or not path:
        return False
    ahead = circle[(circle.index(run) + 1) % len(circle)]
    known = Conflict.objects.filter(kind=Kind.DEADLOCK, requester=agent, detail__runs=[run, ahead])
    if known.exists():
        return False
    reason = "each waits for the other"
    return _with_each(agent, {UUID(ahead)}, path=path, reason=reason, kind=Kind.DEADLOCK) is not None


def _with_each(requester: Agent, runs: set[UUID], *, path: str, reason: str, kind: Kind) -> Conflict | None:
    first: Conflict | None = None
    for holder in Agent.objects.filter(execution_id__in=runs).exclude(pk=requester.pk).order_by("pk")[:_HOLDERS]:
        row, _ = conflict_rows.open_row(
            kind,
            requester=requester,
            holder=holder,
            patterns=[path],
            facts={"reason": printable(reason)[:MAX_WORDS]},
            detail={"runs": [str(requester.execution_id), str(holder.execution_id)]},
            seconds=seconds_for(requester),
        )
        conflict_talk.announce(row.pk)
        first = first or row
    return first


def from_overlap(agent: Agent, other: Agent, *, patterns: Sequence[str]) -> Conflict:
    """An agent that is about to start wants files that another one changes now. May be called in a transaction.

    It is announced by the worker that is woken when the transaction commits.
    """
    row, _ = conflict_rows.open_row(
        Kind.OVERLAP, requester=agent, holder=other, patterns=patterns, seconds=seconds_for(agent)
    )
    return row


def open_overlaps() -> int:
    """Open conflicts of agents that wait for a neighbour's files, where the policy has an arbiter decide; returns how many."""
    of_agents = dict(_FOR_NEIGHBOURS.rows())
    if not of_agents:
        return 0
    policies = RepositoryPolicy.objects.filter(repository_id__in=set(of_agents.values()))
    ask = {
        row.repository_id for row in policies if repositories.effective_policy(row).footprints == FootprintMode.ARBITER
    }
    opened = 0
    for agent in Agent.objects.filter(pk__in=[pk for pk, repository in of_agents.items() if repository in ask]):
        for found, pattern in neighbours.overlapping(agent):
            pair = conflict_rows.pair_of(agent.pk, found.agent_id)
            known = Conflict.objects.filter(pair=pair, kind=Kind.OVERLAP, state__in=sorted(STANDING))
            if not known.exists():
                from_overlap(agent, Agent.objects.get(pk=found.agent_id), patterns=[pattern])
                opened += 1
    return opened


@done_again
def decide(conflict_id: int, *, choice: str, actor: str, order: Sequence[int] = (), reason: str = "") -> Conflict:
    """Decide a conflict, or decide it otherwise; what it means is carried out by a worker that is woken.

    Args:
        choice: `release`, `sequence`, `fork` or `merge_plan`.
        actor: `agent:3` (its arbiter, once), a person (`cli:root`), `default` or `policy`.
        order: Agents: of `sequence` who goes first, of `merge_plan` who merges.
        reason: For the two.

    Raises:
        AgentNotFoundError: No such conflict.
        NotAllowedError: It is over, was decided already, or is not the actor's to decide.
        InvalidInputError: The choice makes no sense here; the message says which does.
    """
    with transaction.atomic():
        row = conflict_rows.locked(conflict_id)
        _check_may_decide(row, actor)
        try:
            decided = rules.settled(Kind(row.kind), conflict_rows.sides(row), choice=Choice(choice), order=order)
        except ValueError as error:
            known = ", ".join(rules.choices(Kind(row.kind)))
            raise InvalidInputError(str(error) if choice in list(Choice) else f"choose one of {known}") from error
        before = {"state": row.state, "choice": row.choice, "order": row.order, "by": row.decided_by, "step": row.step}
        waiter = _waiter(row, decided)
        freed = row.waiter_id if row.waiter_id != waiter else None
        told = {"choice": str(decided.choice), "order": list(decided.order), "by": actor[:150], "before": before}
        conflict_rows.change(
            row,
            "conflict.decided",
            told,
            state=str(ConflictState.DECIDED),
            choice=str(decided.choice),
            order=list(decided.order),
            decided_by=actor[:150],
            words=printable(reason).strip()[:MAX_WORDS],
            decided_at=timezone.now(),
            decisions=row.decisions + 1,
            step=0,
            waiter_id=waiter,
            act_at=_act_at(row, decided),
            reason="",
            ended_at=None,
        )
        if list(before["order"]) != list(decided.order):
            conflict_rows.take_merge_back(row, before["order"])
        if _is_person(actor):
            auditing.record(actor, "conflict_decide", f"conflict:{row.pk}", told)
        # Its thread was closed with it; or nobody was told of it yet. What the policy decides is shown, not told.
        if before["state"] not in STANDING or (row.thread_id is None and actor != POLICY and row.kind != Kind.MERGE):
            thread = conflict_talk.open_thread(row)
            conflict_rows.change(row, "conflict.announced", {"thread": thread}, thread_id=thread)
        conflict_talk.say(row, conflict_words.decision(row))
        wake.conflict(row.pk)
        if freed is not None:
            wake.decide(freed)
    return row


def end(row: Conflict, *, state: ConflictState, reason: str) -> bool:
    """End a standing conflict, with words for everybody, in the caller's transaction; False when it had ended."""
    fields: dict[str, Any] = {
        "state": str(state),
        "reason": one_line(reason, 500),
        "waiter_id": None,
        "act_at": None,
        "ended_at": timezone.now(),
    }
    freed, mine = row.waiter_id, {"state": row.state, "decisions": row.decisions}
    if not conflict_rows.change(row, f"conflict.{state}", {"why": fields["reason"]}, only_if=mine, **fields):
        return False
    if state != ConflictState.CARRIED_OUT:
        conflict_talk.say(row, f"Conflict {row.pk} is {state}: {fields['reason']}.")
    if row.thread_id is not None:
        with contextlib.suppress(CoordinatorError):
            threads.close(row.thread_id, by=GRID, reason=f"conflict {row.pk} is {state}")
    if freed is not None:
        wake.decide(freed)
    return True


def find(*, state: str = "", agent_id: int | None = None, limit: int = 100) -> list[Conflict]:
    """Conflicts, the newest first, with their agents.

    Args:
        state: `standing` (open or decided), or one state; empty: all.
        agent_id: Only those that an agent is a side of, or decides.
    """
    rows = Conflict.objects.select_related("requester__issue", "holder__issue", "arbiter__issue", "waiter")
    if state == "standing":
        rows = rows.filter(state__in=sorted(STANDING))
    elif state:
        rows = rows.filter(state=state)
    if agent_id is not None:
        rows = rows.filter(requester_id=agent_id) | rows.filter(holder_id=agent_id) | rows.filter(arbiter_id=agent_id)
    return list(rows.order_by("-pk")[:limit])


def get(conflict_id: int) -> Conflict:
    """One conflict with its agents. Raises AgentNotFoundError."""
    rows = Conflict.objects.select_related("requester__issue", "holder__issue", "arbiter__issue", "waiter")
    row = rows.filter(pk=conflict_id).first()
    if row is None:
        raise AgentNotFoundError(f"no conflict {conflict_id}; `conflict list` shows those that stand")
    return row


def _check_may_decide(row: Conflict, actor: str) -> None:
    """Raise NotAllowedError for somebody who may not decide a conflict as it is now."""
    if row.state in _NO_LONGER:
        raise NotAllowedError(f"conflict {row.pk} is {row.state}: {row.reason}")
    if row.requester.state in ENDED:
        raise NotAllowedError(f"agent {row.requester_id} is {row.requester.state}; there is nothing left to decide")
    if _is_person(actor):
        return
    if actor.startswith("agent:") and actor != f"agent:{row.arbiter_id}":
        raise NotAllowedError(f"conflict {row.pk} is not yours to decide")
    if row.state != ConflictState.OPEN:
        raise NotAllowedError(f"conflict {row.pk} was decided by {row.decided_by} already: {row.choice}")


def _is_person(actor: str) -> bool:
    return actor not in (DEFAULT, POLICY, GRID) and not actor.startswith("agent:")


def _waiter(row: Conflict, decided: rules.Decision) -> int | None:
    """Who is not started until its step has come."""
    if decided.choice == Choice.SEQUENCE:
        is_waiting = row.waiter_id == row.requester_id == decided.order[0]
        return decided.order[0 if is_waiting else 1]
    if decided.choice == Choice.RELEASE:
        return row.requester_id
    if row.kind == Kind.MERGE and decided.order[0] != row.requester_id:
        return row.requester_id
    return None


def _act_at(row: Conflict, decided: rules.Decision) -> datetime | None:
    """Until when who has to give way has time for it."""
    if decided.choice in APART or row.kind == Kind.MERGE:
        return None
    return timezone.now() + timedelta(seconds=conf().conflict_grace_seconds)


def seconds_for(agent: Agent) -> int:
    """Until the default is taken, in an agent's repository."""
    return _effective(agent).conflict_seconds


def _effective(agent: Agent) -> EffectivePolicy:
    return repositories.effective_policy(repositories.policy_of(agent.repository_id))
