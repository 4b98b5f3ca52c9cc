"""Rows of conversations: which there are, who is in them, and the event of each change. Below what may be said in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import auditing, lifecycle
from coordinator.models import Agent, Thread, ThreadMember
from coordinator.public_errors import ThreadNotFoundError
from grid import public_events as grid_events

GRID = "grid"
MAX_SENDER = 150


def get(thread_id: int) -> Thread:
    """A thread with its root. Raises ThreadNotFoundError."""
    thread = Thread.objects.select_related("root").filter(pk=thread_id).first()
    if thread is None:
        raise ThreadNotFoundError(f"no thread {thread_id}; `thread list` shows those that are open")
    return thread


def agents_in(thread: Thread) -> list[Agent]:
    """The agents that are in a thread now, in the order in which they came."""
    rows = ThreadMember.objects.filter(thread=thread, agent__isnull=False, left_at=None).select_related("agent")
    return [row.agent for row in rows.order_by("pk") if row.agent is not None]


def is_person(actor: str) -> bool:
    """Whether a sender is a person, by the door they came through."""
    return actor != GRID and not actor.startswith("agent:")


def audit(actor: str, action: str, thread: Thread, detail: Mapping[str, Any]) -> None:
    """Record a person's act, in its transaction; agents and the grid have their events."""
    if is_person(actor):
        auditing.record(actor, action, f"thread:{thread.pk}", dict(detail))


def join(thread_id: int, *, person: str) -> Thread:
    """Put a person into a thread; what is said there is shown to them by `thread show`. Raises ThreadNotFoundError."""
    with transaction.atomic():
        thread = get(thread_id)
        if enter(thread, person):
            audit(person, "thread_join", thread, {})
    return thread


def leave(thread_id: int, *, person: str) -> bool:
    """Take a person out of a thread; returns whether they were in it. Raises ThreadNotFoundError."""
    with transaction.atomic():
        thread = get(thread_id)
        mine = ThreadMember.objects.filter(thread=thread, person=person[:MAX_SENDER], left_at=None)
        row, now = mine.first(), timezone.now()
        if row is None or not mine.update(left_at=now):
            return False
        row.left_at = now
        record(thread, "left", {"who": row.person}, rows=[grid_events.row(row, "left_at")])
        audit(person, "thread_leave", thread, {})
    return True


def enter(thread: Thread, person: str) -> bool:
    """Put a person into a thread, in the caller's transaction; False when they are in it already."""
    name, now = person[:MAX_SENDER], timezone.now()
    row, is_new = ThreadMember.objects.get_or_create(thread=thread, person=name, defaults={"joined_at": now})
    if not is_new and row.left_at is None:
        return False
    if not is_new:
        ThreadMember.objects.filter(pk=row.pk).update(joined_at=now, left_at=None)
        row.joined_at, row.left_at = now, None
    record(thread, "joined", {"who": name}, row)
    return True


def record(thread: Thread, what: str, body: Mapping[str, Any], *made: Any, rows: Sequence[Any] = ()) -> None:
    """One event on the stream of the tree's root; `made`: rows that are new as a whole."""
    changes = [*rows, *map(grid_events.row, made)]
    lifecycle.record(thread.root, (f"thread.{what}", {"thread": thread.pk, **body, "rows": changes}))
