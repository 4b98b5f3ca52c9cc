"""Talking about conflicts: everybody is told in a thread, and whoever decides is nudged."""

from __future__ import annotations

import contextlib
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator.agents import integration, reporting
from coordinator.contention import conflict_rows, conflict_words
from coordinator.documents.untrusted import one_line, printable
from coordinator.giving_way import done_again
from coordinator.launching import dispatch
from coordinator.models import Agent, Conflict
from coordinator.public_errors import CoordinatorError
from coordinator.public_types import Answer, MessageKind, Source, ThreadKind
from coordinator.rules import conflict_rules as rules
from coordinator.rules.conflict_rules import ConflictState
from coordinator.rules.conflict_steps import LONG_WAITS
from coordinator.teamwork import threads
from grid import public_code as grid_code
from grid.public_errors import GridError

GRID = "grid"
_PATHS_IN_PATCH = 10


@done_again
def announce(conflict_id: int) -> bool:
    """Tell everybody of a new conflict, once, and nudge who decides; asks git, so call it outside any transaction.

    Returns:
        Whether this call did.
    """
    row = Conflict.objects.select_related("requester__issue", "holder__issue").get(pk=conflict_id)
    if row.announced_at is not None or row.state != ConflictState.OPEN:
        return False
    facts = {"requester": _facts(row, row.requester), "holder": _facts(row, row.holder), **row.facts}
    with transaction.atomic():
        row = conflict_rows.locked(conflict_id)
        if row.announced_at is not None or row.state != ConflictState.OPEN:
            return False
        thread = open_thread(row)
        conflict_rows.change(
            row, "conflict.announced", {"thread": thread}, announced_at=timezone.now(), thread_id=thread, facts=facts
        )
        _call_arbiter(row)
        say(row, conflict_words.opening(row))
    return True


def open_thread(row: Conflict) -> int:
    """Open a thread with everybody in it, in the caller's transaction; returns its number."""
    members = [row.requester, row.holder, *([row.arbiter] if row.arbiter is not None else [])]
    thread = threads.open_thread(
        kind=ThreadKind.CONFLICT,
        subject=f"conflict {row.pk}: {one_line(', '.join(row.patterns[:3]), 150)}",
        members=list({member.pk: member for member in members}.values()),
        opened_by=GRID,
        data={"conflict": row.pk},
    )
    return thread.pk


def _call_arbiter(row: Conflict) -> None:
    """Nudge who decides; where it cannot run, nobody waits for it."""
    if row.arbiter_id is None:
        return
    answered = dispatch.nudge(row.arbiter_id, source=Source.CONFLICT, reason=f"conflict {row.pk} is to be decided")
    stored = answered.decision or {}
    if answered.answer == Answer.REFUSED or stored.get("code") in LONG_WAITS:
        why = f"agent {row.arbiter_id} cannot decide: {stored.get('reason', '')}"
        conflict_rows.change(row, "conflict.no-arbiter", {"why": why[:300]}, default_at=timezone.now())


def say(row: Conflict, text: str) -> None:
    """Say something to everybody in the conflict's thread, in the caller's transaction; nothing where there is none."""
    if row.thread_id is None:
        return
    # A person may have closed it; the decision counts all the same, and the conflict's own page shows it.
    with contextlib.suppress(CoordinatorError), transaction.atomic():
        threads.post(row.thread_id, sender=GRID, kind=MessageKind.CONFLICT, text=text, data={"conflict": row.pk})


def _facts(row: Conflict, agent: Agent) -> dict[str, Any]:
    """What a side wants and has changed in the paths so far; words of agents, bounded."""
    says = reporting.last_states([agent.stream]).get(agent.stream, "")
    found: dict[str, Any] = {"title": one_line(conflict_words.title_of(agent), 200), "state": agent.state, "says": says}
    head = str(row.detail.get("ours", "")) if agent.pk == row.requester_id else ""
    head = head or agent.head
    if head and agent.base:
        with contextlib.suppress(GridError):
            key = integration.key(agent)
            changed = [file.path for file in grid_code.changes(repository=key, base=agent.base, head=head)]
            about = [path for path in changed if rules.overlaps([path], row.patterns)][:_PATHS_IN_PATCH]
            if about:
                patch = grid_code.patch(repository=key, base=agent.base, head=head, paths=about)
                found |= {"commit": head, "patch": printable(patch)[:12_000]}
    return found
