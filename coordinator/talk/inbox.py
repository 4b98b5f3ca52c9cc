"""An agent's inbox: what its next run is told, what it can read, and what became of its own words."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from coordinator.documents.prompt_context import Told
from coordinator.models import Agent, Message, Post
from coordinator.rules import inbox_rules, vocabulary
from coordinator.talk import messages, speakers
from grid.public_sql import Prepared, given
from grid.public_types import Mode, State

MOST = 50
_LOOKED_AT = 200
GRID = "agent-grid itself"
_ANY = Prepared(lambda: Message.objects.filter(agent=given("agent")).order_by().values_list("pk", flat=True)[:1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """What a prompt tells of the messages to an agent."""

    rows: tuple[Message, ...] = ()
    """Those that it tells; older ones for which there was no room go on waiting."""
    told: tuple[Told, ...] = ()
    """Oldest first."""
    asking: int = 0
    """How many of all that wait want an answer; they may start a parent whose children are under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Something that an agent said, and how far it came."""

    post: int
    thread: int | None
    kind: str
    text: str
    at: datetime
    to: tuple[tuple[int, str, str], ...]
    """Of each receiver: agent, state, why not."""


def for_next_run(agent: Agent) -> Inbox:
    """What the next run is told; the agent comes with its last execution."""
    if not _ANY.exists(agent=agent.pk):  # as a rule; the question below is ten times dearer
        return Inbox()
    wanted = Q(state__in=messages.WAITING)
    if _last_came_to_nothing(agent):
        wanted |= Q(execution_id=agent.execution_id, state=Message.State.SEEN)
    found = messages.still_told(Message.objects.filter(wanted, agent=agent)).select_related("post__thread")
    rows = list(found.order_by("-pk")[:_LOOKED_AT])[::-1]
    if not rows:
        return Inbox()
    arranged = inbox_rules.arrange(speakers.items(rows, agent))
    taken = {item.id for item in (*arranged.whole, *arranged.folded)}
    told = [Told(sender=item.source, text=item.words) for item in arranged.whole]
    if arranged.older:
        told.insert(0, Told(sender=GRID, text=inbox_rules.summary(arranged.older)))
    return Inbox(
        rows=tuple(row for row in rows if row.pk in taken),
        told=tuple(told),
        asking=sum(_asks(row) for row in rows),
    )


def count_waiting(agent: Agent) -> int:
    """How many messages an agent is still to be told."""
    return messages.still_told(Message.objects.filter(agent=agent, state=Message.State.QUEUED)).count()


def last(agent: Agent, *, limit: int, thread: int | None = None) -> list[Message]:
    """The last messages of an agent, oldest first, seen ones too; of one thread where it is named."""
    rows = messages.still_told(Message.objects.filter(agent=agent)).select_related("post__thread")
    if thread is not None:
        rows = rows.filter(post__thread_id=thread)
    return list(rows.order_by("-pk")[:limit])[::-1]


def sent(agent: Agent, *, limit: int, thread: int | None = None) -> list[Sent]:
    """What an agent said last, oldest first, in two queries."""
    posts = Post.objects.filter(sender=agent.stream)
    if thread is not None:
        posts = posts.filter(thread_id=thread)
    said = list(posts.order_by("-pk")[:limit])[::-1]
    to: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
    rows = Message.objects.filter(post__in=said).order_by("pk")
    for post_id, agent_id, state, reason in rows.values_list("post_id", "agent_id", "state", "reason"):
        to[post_id].append((agent_id, state, reason))
    return [
        Sent(
            post=post.pk,
            thread=post.thread_id,
            kind=post.kind,
            text=post.text,
            at=post.created_at,
            to=tuple(to[post.pk]),
        )
        for post in said
    ]


def _last_came_to_nothing(agent: Agent) -> bool:
    """Whether the next run is to be told what the last one was.

    That one failed, its work was not taken, or it was there to merge or to decide conflicts, and did nothing else.
    """
    run = agent.execution
    return run is not None and (run.state != State.SUCCEEDED or "refused" in agent.conflict or run.mode == Mode.RESOLVE)


def _asks(row: Message) -> bool:
    """Whether a waiting message wants an answer; whom the grid itself tells of something, it nudges by itself."""
    kind_asks = row.post.kind in vocabulary.ASKING and row.post.sender != "grid"
    return kind_asks and row.state in messages.WAITING
