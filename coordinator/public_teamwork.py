"""What commands, pages and other packages may ask about agents that work together: words, threads, locks, conflicts, plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from coordinator.contention import conflict_words
from coordinator.operating import control, plans
from coordinator.operating.plans import Preview as PlanPreview
from coordinator.public_types import MessageKind, ThreadKind
from coordinator.reading import queries
from coordinator.rules import plan_diff, vocabulary
from coordinator.talk import conversations, messages, thread_rows
from coordinator.talk.messages import Receipt
from coordinator.teamwork import asked, conflict_views, locking, threads
from coordinator.teamwork.conflict_views import ConflictView
from coordinator.teamwork.locking import LockRow

__all__ = ["ConflictView", "LockRow", "PlanPreview", "Receipt"]


# --- conversations ---------------------------------------------------------------------------------------------

list_threads = conversations.list_threads
get_thread = conversations.get_thread
posts_of_thread = conversations.posts_of
join_thread = thread_rows.join
leave_thread = thread_rows.leave
close_thread = threads.close


def tell(agent_id: int, *, actor: str, text: str, kind: MessageKind = MessageKind.CHAT) -> Receipt:
    """Say something to an agent; the answer says how it gets there.

    Raises AgentNotFoundError, InvalidInputError, LimitExceededError.
    """
    receipt = messages.tell(agent_id, sender=actor, text=text, kind=kind)
    control.audit(actor, "tell", f"agent:{agent_id}", {"message": receipt.id, "state": receipt.state})
    if kind in vocabulary.ASKING:
        asked.wake([agent_id])
    return receipt


def open_thread(
    agent_ids: Sequence[int], *, actor: str, subject: str, expires_at: datetime | None = None
) -> conversations.ThreadView:
    """Open a conversation with agents, as a person, who is in it. Raises AgentNotFoundError, InvalidInputError."""
    members = [queries.row_of(pk) for pk in dict.fromkeys(agent_ids)]
    thread = threads.open_thread(
        kind=ThreadKind.CHAT, subject=subject, members=members, opened_by=actor, expires_at=expires_at
    )
    return conversations.get_thread(thread.pk)


def bridge_agents(one: int, other: int, *, actor: str, subject: str = "") -> conversations.ThreadView:
    """Let two agents of any trees write to each other, in this thread and directly, until it is closed."""
    thread = threads.bridge(queries.row_of(one), queries.row_of(other), actor=actor, subject=subject)
    return conversations.get_thread(thread.pk)


def post_to_thread(
    thread_id: int,
    *,
    actor: str,
    text: str,
    kind: MessageKind = MessageKind.CHAT,
    data: Mapping[str, Any] | None = None,
) -> conversations.PostView:
    """Say something in a thread, as a person, who joins it by that.

    Raises ThreadNotFoundError, NotAllowedError, InvalidInputError.
    """
    said = threads.post(thread_id, sender=actor, kind=kind, text=text, data=data)
    return conversations.post_view(said.pk)


# --- conflicts -------------------------------------------------------------------------------------------------


find_conflicts = conflict_views.find
get_conflict = conflict_views.get
decide_conflict = conflict_views.decide
decision_of_conflict = conflict_words.decided_of


# --- locks -----------------------------------------------------------------------------------------------------


find_locks = locking.find
release_lock = locking.release_by_hand


# --- the plan --------------------------------------------------------------------------------------------------


export_plan = plans.export
preview_plan = plans.preview
apply_plan = plans.apply
plan_words = plan_diff.in_words
plan_change = plan_diff.as_json
plan_summary = plan_diff.summary
