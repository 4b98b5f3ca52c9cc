"""Conversations as people and agents see them: threads with their members, posts with what became of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from coordinator.models import Agent, Message, Post, Thread, ThreadMember
from coordinator.public_types import MessageKind
from coordinator.rules import inbox_rules
from coordinator.talk import thread_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """Somebody in a thread."""

    agent_id: int | None
    path: str
    """Of an agent, in its tree."""
    person: str
    """Of a person: door and name."""
    joined_at: datetime
    left_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadView:
    """A thread."""

    id: int
    kind: str
    subject: str
    state: str
    """`open`, `closed`, or `expired`: open, and its time is over."""
    root_id: int
    issue: str
    """Of the root of its tree: `local/app#12`."""
    opened_by: str
    data: Mapping[str, Any]
    expires_at: datetime | None
    closed_by: str
    reason: str
    created_at: datetime
    closed_at: datetime | None
    members: tuple[MemberView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """How far a post has come with one agent."""

    message: int
    agent_id: int
    path: str
    state: str
    channel: str
    reason: str
    execution_id: UUID | None
    delivered_at: datetime | None
    seen_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PostView:
    """Something said."""

    id: int
    thread: int | None
    sender: str
    kind: str
    text: str
    data: Mapping[str, Any]
    words: str
    """Facts and text together, as agents are told."""
    execution_id: UUID | None
    at: datetime
    deliveries: tuple[DeliveryView, ...]


def list_threads(*, root_id: int | None = None, is_open: bool | None = True, limit: int = 100) -> list[ThreadView]:
    """Threads, the newest first, in two queries.

    Args:
        root_id: Of this tree alone.
        is_open: Open ones, closed ones, or both (None).
    """
    rows = Thread.objects.select_related("root__issue", "root__repository")
    if root_id is not None:
        rows = rows.filter(
            Q(root_id=root_id) | Q(members__agent_id=root_id) | Q(members__agent__root_id=root_id)
        ).distinct()
    if is_open is not None:
        rows = rows.filter(state=Thread.State.OPEN if is_open else Thread.State.CLOSED)
    return _threads(list(rows.order_by("-pk")[:limit]))


def get_thread(thread_id: int) -> ThreadView:
    """One thread. Raises ThreadNotFoundError."""
    thread_rows.get(thread_id)
    rows = Thread.objects.filter(pk=thread_id).select_related("root__issue", "root__repository")
    return _threads(list(rows))[0]


def posts_of(thread_id: int, *, limit: int = 50) -> list[PostView]:
    """The last posts of a thread, oldest first, in two queries."""
    return _posts(list(Post.objects.filter(thread_id=thread_id).order_by("-pk")[:limit])[::-1])


def post_view(post_id: int) -> PostView:
    """One post, which exists."""
    return _posts(list(Post.objects.filter(pk=post_id)))[0]


def _threads(rows: list[Thread]) -> list[ThreadView]:
    members: dict[int, list[MemberView]] = defaultdict(list)
    found = ThreadMember.objects.filter(thread__in=rows).select_related("agent").order_by("pk")
    for row in found.defer("agent__spec", "agent__summary"):
        view = MemberView(
            agent_id=row.agent_id,
            path=row.agent.path if row.agent is not None else "",
            person=row.person,
            joined_at=row.joined_at,
            left_at=row.left_at,
        )
        members[row.thread_id].append(view)
    now = timezone.now()
    return [
        ThreadView(
            id=row.pk,
            kind=row.kind,
            subject=row.subject,
            state="expired"
            if row.state == "open" and row.expires_at is not None and row.expires_at <= now
            else row.state,
            root_id=row.root_id,
            issue=f"{row.root.repository.scope}#{row.root.issue.key}",
            opened_by=row.opened_by,
            data=row.data,
            expires_at=row.expires_at,
            closed_by=row.closed_by,
            reason=row.reason,
            created_at=row.created_at,
            closed_at=row.closed_at,
            members=tuple(members[row.pk]),
        )
        for row in rows
    ]


def _posts(rows: list[Post]) -> list[PostView]:
    deliveries: dict[int, list[DeliveryView]] = defaultdict(list)
    found = Message.objects.filter(post__in=rows).order_by("pk")
    paths = dict(Agent.objects.filter(pk__in={row.agent_id for row in found}).values_list("pk", "path"))
    for row in found:
        view = DeliveryView(
            message=row.pk,
            agent_id=row.agent_id,
            path=paths[row.agent_id],
            state=row.state,
            channel=row.channel,
            reason=row.reason,
            execution_id=row.execution_id,
            delivered_at=row.delivered_at,
            seen_at=row.seen_at,
        )
        deliveries[row.post_id].append(view)
    return [
        PostView(
            id=row.pk,
            thread=row.thread_id,
            sender=row.sender,
            kind=row.kind,
            text=row.text,
            data=row.data,
            words=inbox_rules.as_text(MessageKind(row.kind), row.data, row.text),
            execution_id=row.execution_id,
            at=row.created_at,
            deliveries=tuple(deliveries[row.pk]),
        )
        for row in rows
    ]
