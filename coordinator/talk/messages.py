"""Words for agents, and how they reach them: the running program, an answer of the grid's tools, or the next run's prompt.

A message is the delivery of a post to one agent. It waits (`queued`) until one of the three takes it. A running program that
takes input gets it at once (`delivered`) and is believed when it says that a model saw it (`seen`). Runs remember nothing of
each other: what a run was told that came to nothing is told the next one again. Each step is an event in the same transaction.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from coordinator import lifecycle
from coordinator.documents.untrusted import printable
from coordinator.lifecycle import Draft
from coordinator.models import Agent, Message, Post
from coordinator.public_errors import AgentNotFoundError, InvalidInputError, LimitExceededError
from coordinator.public_types import ENDED, MessageKind
from coordinator.rules import vocabulary
from coordinator.talk import speakers
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_sql import Prepared, given
from grid.public_types import ON_HOST, EventView

MAX_CHARACTERS = 16_000

MAX_WAITING = 100
"""Of one agent: whoever sends more has to wait until some were seen."""
IN_AN_ANSWER = 5
SEEN, REFUSED = "agent.inbox", "message.refused"
"""Events of an execution: its program says what became of a message; its program took it not at all."""
WAITING = (Message.State.QUEUED, Message.State.DELIVERED)
_ANY = Prepared(lambda: Message.objects.filter(agent=given("agent"), state=Message.State.QUEUED).values_list("pk")[:1])
_WAITS = "waits: it is told by a run that starts from now on, in its prompt; one that is queued by now, a little later"
_FINAL = frozenset({Message.State.EXPIRED, Message.State.UNDELIVERABLE})
_DELIVERY = ("state", "channel", "execution_id", "reason", "delivered_at", "seen_at")
_BATCH = 200


class Channel(enum.StrEnum):
    """Ways to an agent."""

    LIVE = "live"
    TOOL = "tool"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a message so far."""

    id: int
    state: str
    how: str
    """One sentence for whoever sent it."""


def words_of(text: str, kind: MessageKind = MessageKind.CHAT) -> str:
    """What can be read of a text. Raises InvalidInputError: nothing (where words are needed), or too much."""
    words = printable(text).strip()
    if not words and kind == MessageKind.CHAT:
        raise InvalidInputError("the message is empty; say something")
    if len(words) > MAX_CHARACTERS:
        raise InvalidInputError(f"the message has {len(words)} characters; at most {MAX_CHARACTERS} are delivered")
    return words


def tell(
    agent_id: int,
    *,
    sender: str,
    text: str,
    kind: MessageKind = MessageKind.CHAT,
    data: Mapping[str, Any] | None = None,
    execution_id: UUID | None = None,
) -> Receipt:
    """Say something to one agent, outside of any thread, and learn how it gets there; call it outside any transaction.

    Who may say something to whom is the caller's business (`coordinator.talk.reach`).

    Args:
        agent_id: To whom.
        sender: Door and name of a person (`cli:root`, `admin:ann`, `github:mona`), `grid`, or `agent:12`.
        text: At most `MAX_CHARACTERS`; may be empty when `data` says it all.
        kind: What it is.
        data: Its facts, as the kind has them.
        execution_id: The run that says it, of an agent.

    Raises:
        AgentNotFoundError: No such agent.
        InvalidInputError: There is nothing to read in it, too much, or the facts are not those of its kind.
        LimitExceededError: Too many messages wait for this agent.
    """
    words, facts = words_of(text, kind), vocabulary.plain(kind, data)
    with transaction.atomic():
        agent = Agent.objects.select_for_update(of=("self",), no_key=True).filter(pk=agent_id).first()
        if agent is None:
            raise AgentNotFoundError(f"no agent {agent_id}")
        waiting = Message.objects.filter(agent=agent, state__in=WAITING).count()
        if waiting >= MAX_WAITING:
            raise LimitExceededError(kind="messages that wait for this agent", value=waiting, limit=MAX_WAITING)
        post = Post.objects.create(
            sender=sender[:150], kind=kind, text=words, data=facts, execution_id=execution_id, created_at=timezone.now()
        )
        (row,) = address(post, [(agent, "")])
        lifecycle.record(agent, ("message.told", body_of(post, [row])))
    if row.state == Message.State.UNDELIVERABLE:
        return Receipt(id=row.pk, state=row.state, how=f"not delivered: {row.reason} and runs no more")
    return hand_over(agent, row)


def leave(agent: Agent, *, text: str, kind: MessageKind) -> None:
    """Have words of the grid's own wait for an agent, in the caller's transaction; its prompt or next tool answer has them.

    A program that runs already gets them sooner when the caller calls `hand_over_waiting` after the transaction.
    """
    post = Post.objects.create(
        sender="grid", kind=kind, text=words_of(text, kind)[:MAX_CHARACTERS], data={}, created_at=timezone.now()
    )
    lifecycle.record(agent, ("message.told", body_of(post, address(post, [(agent, "")]))))


def address(post: Post, receivers: Iterable[tuple[Agent, str]]) -> list[Message]:
    """The deliveries of a post, in the transaction that makes it.

    Args:
        post: Stored by now.
        receivers: Agents, and why each cannot be told, or nothing.
    """
    rows = []
    for agent, problem in receivers:
        why = problem or (f"the agent is {agent.state}" if agent.state in ENDED else "")
        rows.append(
            Message(
                agent=agent,
                post=post,
                state=Message.State.UNDELIVERABLE if why else Message.State.QUEUED,
                reason=why[:300],
                # The grid nudges by itself whom it wants to run.
                wakes=not why and post.kind in vocabulary.ASKING and post.sender != "grid",
                created_at=post.created_at,
            )
        )
    return Message.objects.bulk_create(rows)


def body_of(post: Post, rows: Sequence[Message]) -> dict[str, Any]:
    """What the event of a post says."""
    return {
        "post": post.pk,
        "thread": post.thread_id,
        "sender": post.sender,
        "kind": post.kind,
        "text": post.text[:500],
        "messages": [row.pk for row in rows],
        "rows": [grid_events.row(post), *map(grid_events.row, rows)],
    }


def hand_over_waiting(agent: Agent) -> int:
    """Give what waits to the program that has just started; returns how many messages it took. Outside a transaction."""
    waiting = list(_queued(agent)) if _ANY.exists(agent=agent.pk) else []
    return sum(hand_over(agent, row).state == Message.State.DELIVERED for row in waiting)


def hand_over(agent: Agent, row: Message) -> Receipt:
    """Give a message to the running program if there is one that takes it; the row comes with its post and thread."""
    run = grid.get_execution(agent.execution_id) if agent.execution_id is not None else None
    if run is None or run.state not in ON_HOST:
        return Receipt(id=row.pk, state=row.state, how=_WAITS)
    item = speakers.items([row], agent)[0]
    # Marked first, so that a tool's answer does not carry it as well.
    live: dict[str, Any] = {"state": Message.State.DELIVERED, "channel": Channel.LIVE, "execution_id": run.id}
    if not _move(agent, [row], "message.delivered", Message.State.QUEUED, **live, delivered_at=timezone.now()):
        row.refresh_from_db(fields=["state", "reason"])
        how = "the running agent got it with a tool's answer" if row.state == Message.State.SEEN else row.reason
        return Receipt(id=row.pk, state=row.state, how=how)
    if grid_agents.deliver(run.id, key=str(row.pk), sender=item.source, text=item.words):
        return Receipt(id=row.pk, state=Message.State.DELIVERED, how="given to the running program")
    _move(agent, [row], "message.waits", Message.State.DELIVERED, **_AGAIN)
    how = "waits: the running program takes no input; it is told with the next answer of the grid's tools, or the next run is"
    return Receipt(id=row.pk, state=Message.State.QUEUED, how=how)


def with_answer(agent: Agent, *, execution_id: UUID, only: Iterable[int] | None = None) -> list[Message]:
    """What waits for a running agent, oldest first, for the answer that it gets now; it counts as seen.

    Args:
        only: These alone, however many; None: the oldest few.
    """
    rows = _queued(agent)
    waiting = list(rows[:IN_AN_ANSWER] if only is None else rows.filter(pk__in=list(only)))
    if not waiting:  # as a rule; a transaction would wait for other writers
        return []
    now = timezone.now()
    seen: dict[str, Any] = {"state": Message.State.SEEN, "channel": Channel.TOOL, "execution_id": execution_id}
    return _move(agent, waiting, "message.seen", Message.State.QUEUED, **seen, delivered_at=now, seen_at=now)


def take_note(event: EventView) -> None:
    """A run's event `SEEN` or `REFUSED`: what became of a message; of messages of other runs nothing is believed."""
    number, execution_id = str(event.body.get("id")), UUID(event.stream.removeprefix("execution:"))
    if not number.isdecimal() or len(number) > 18:
        return
    mine = Message.objects.filter(pk=int(number), execution_id=execution_id, state=Message.State.DELIVERED)
    row = mine.select_related("agent").first()
    if row is None:
        return
    if event.kind == SEEN and event.body.get("state") == "seen":
        seen: dict[str, Any] = {"state": Message.State.SEEN, "seen_at": timezone.now()}
        _move(row.agent, [row], "message.seen", Message.State.DELIVERED, only=mine, **seen)
    else:
        _move(row.agent, [row], "message.waits", Message.State.DELIVERED, only=mine, **_AGAIN)


def take(rows: Sequence[Message], *, execution_id: UUID | None) -> list[Draft]:
    """Mark what a run's prompt holds, in the transaction that launches it; returns the event that tells it."""
    if not rows:
        return []
    now = timezone.now()
    told = {"state": Message.State.SEEN, "channel": Channel.PROMPT, "execution_id": execution_id}
    taken = _mark(rows, Message.objects.exclude(state__in=_FINAL), **told, delivered_at=now, seen_at=now)
    return [_draft("message.seen", taken)] if taken else []


def expire() -> int:
    """Give up what waits for agents that have ended, and what was said in threads that have expired; returns how many."""
    ended = Q(agent__state__in=[str(state) for state in ENDED])
    over = Q(post__thread__expires_at__lte=timezone.now())
    rows = Message.objects.filter(ended | over, state__in=WAITING).select_related("agent", "post__thread")
    by_agent: dict[int, list[Message]] = {}
    for row in rows.order_by("pk")[:_BATCH]:
        by_agent.setdefault(row.agent_id, []).append(row)
    count = 0
    for found in by_agent.values():
        agent = found[0].agent
        for_ever = {"state": Message.State.EXPIRED}
        if agent.state in ENDED:
            why = "the agent ended before it was told"
        else:
            why = "its thread expired before it was told"
        for old in WAITING:
            now_so = [row for row in found if row.state == old]
            still = Message.objects.filter(ended | over)
            count += len(_move(agent, now_so, "message.expired", old, only=still, **for_ever, reason=why))
    return count


_AGAIN: Mapping[str, Any] = {"state": Message.State.QUEUED, "channel": "", "execution_id": None, "delivered_at": None}


def _queued(agent: Agent) -> QuerySet[Message]:
    """What waits and may still be told, oldest first."""
    rows = Message.objects.filter(agent=agent, state=Message.State.QUEUED).order_by("pk")
    return still_told(rows).select_related("post__thread")


def still_told(rows: QuerySet[Message]) -> QuerySet[Message]:
    """Of some messages those whose thread has not expired."""
    lasting = Q(post__thread=None) | Q(post__thread__expires_at=None) | Q(post__thread__expires_at__gt=timezone.now())
    return rows.filter(lasting)


def _move(
    agent: Agent,
    rows: Sequence[Message],
    kind: str,
    old: Message.State,
    only: QuerySet[Message] | None = None,
    **fields: Any,
) -> list[Message]:
    """Move messages of one agent, with one event in the same transaction; returns those that were as believed."""
    if not rows:
        return []
    with transaction.atomic():
        moved = _mark(rows, (Message.objects.all() if only is None else only).filter(state=old), **fields)
        if moved:
            lifecycle.record(agent, _draft(kind, moved))
    return moved


def _mark(rows: Sequence[Message], where: QuerySet[Message], **fields: Any) -> list[Message]:
    """Each row by itself: another process may have moved some of them."""
    marked = []
    for row in rows:
        if where.filter(pk=row.pk).order_by().update(**fields):
            for name, value in fields.items():
                setattr(row, name, value)
            marked.append(row)
    return marked


def _draft(kind: str, rows: Sequence[Message]) -> Draft:
    changes = [grid_events.row(row, *_DELIVERY) for row in rows]
    return kind, {"messages": [row.pk for row in rows], "channel": rows[0].channel, "rows": changes}
