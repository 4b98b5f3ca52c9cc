"""Conversations of several: opened, joined, spoken in, closed. What is said becomes a message to each agent in the thread.

A post is stored with all its deliveries and one event, in one transaction that holds the thread's row alone; programs are
told and agents woken after it. Direct words of an agent to another go through here as well, so that one topology and one
set of caps hold for all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef
from django.utils import timezone

from coordinator.documents.untrusted import one_line
from coordinator.models import Agent, Message, Post, Thread, ThreadMember
from coordinator.public_errors import (
    AgentNotFoundError,
    InvalidInputError,
    NotAllowedError,
    ThreadNotFoundError,
)
from coordinator.public_types import ENDED, MessageKind, ThreadKind
from coordinator.rules import vocabulary
from coordinator.talk import messages, reach, talk_caps
from coordinator.talk.messages import Receipt
from coordinator.talk.thread_rows import GRID, MAX_SENDER, agents_in, audit, enter, get, is_person, record
from coordinator.teamwork import asked
from grid import public_events as grid_events

_AT_ONCE = 100


def open_thread(
    *,
    kind: ThreadKind | str,
    subject: str,
    members: Sequence[Agent],
    opened_by: str,
    data: Mapping[str, Any] | None = None,
    expires_at: datetime | None = None,
) -> Thread:
    """Open a conversation; nobody is told of it until something is said.

    Args:
        kind: What it is for.
        subject: One line.
        members: Agents in it. An agent or a person that opens it is in it as well.
        opened_by: `agent:12` (who may write to each of the members already), `cli:root`, `admin:ann`, `grid`.
        data: What it is about, for programs.
        expires_at: From then on no prompt tells of it; None: it lasts.

    Raises:
        InvalidInputError: No subject, no member, or none whom the agent may write to.
        LimitExceededError: Too many members, or too many open threads in the tree.
    """
    kind, line = ThreadKind(kind), one_line(subject, 200)
    if not line:
        raise InvalidInputError("a thread needs a subject: say in one line what it is about")
    inside = {agent.pk: agent for agent in members}
    with transaction.atomic():
        opener = _agent_of(opened_by)
        if opener is not None:
            others = [agent for pk, agent in inside.items() if pk != opener.pk]
            if not others or not all(verdict.allowed for verdict in reach.verdicts(opener, others)):
                raise AgentNotFoundError(reach.STRANGER)
            inside = {opener.pk: opener, **inside}
        if not inside:
            raise InvalidInputError("a thread needs at least one agent; name it")
        talk_caps.check_members(len(inside))
        first = opener or next(iter(inside.values()))
        root = first if first.root_id is None else Agent.objects.get(pk=first.root_id)
        if opener is not None:
            talk_caps.check_threads(root)
        now = timezone.now()
        thread = Thread.objects.create(
            kind=kind,
            subject=line,
            root=root,
            opened_by=opened_by[:MAX_SENDER],
            data=dict(data or {}),
            expires_at=expires_at,
            created_at=now,
        )
        rows = [ThreadMember(thread=thread, agent=agent, joined_at=now) for agent in inside.values()]
        if is_person(opened_by):
            rows.append(ThreadMember(thread=thread, person=opened_by[:MAX_SENDER], joined_at=now))
        rows = ThreadMember.objects.bulk_create(rows)
        body = {"kind": str(kind), "subject": line, "by": thread.opened_by, "agents": list(inside)}
        record(thread, "opened", body, thread, *rows)
        audit(opened_by, "thread_open", thread, {"kind": str(kind), "agents": list(inside), "subject": line})
    return thread


def bridge(one: Agent, other: Agent, *, actor: str, subject: str = "") -> Thread:
    """Join two agents, of one tree or of two, so that they may write to each other; the same twice is one bridge.

    Raises InvalidInputError for an agent and itself.
    """
    if one.pk == other.pk:
        raise InvalidInputError("a bridge has two ends: name two agents")
    with transaction.atomic():
        ends = sorted([one.pk, other.pk])
        list(Agent.objects.select_for_update(of=("self",), no_key=True).filter(pk=ends[0]))  # one of two at once
        shared = Thread.objects.filter(reach.open_threads(), kind=ThreadKind.BRIDGE)
        for pk in ends:
            shared = shared.filter(pk__in=ThreadMember.objects.filter(agent_id=pk, left_at=None).values("thread_id"))
        known = shared.select_related("root").first()
        if known is not None:
            return known
        line = subject or f"{one.path} and {other.path}"
        return open_thread(kind=ThreadKind.BRIDGE, subject=line, members=[one, other], opened_by=actor)


def post(
    thread_id: int,
    *,
    sender: str,
    kind: MessageKind = MessageKind.CHAT,
    text: str,
    data: Mapping[str, Any] | None = None,
    execution_id: UUID | None = None,
) -> Post:
    """Say something in a thread: each agent in it that the topology lets hear the sender gets it. Outside any transaction.

    Whoever cannot be told (ended, a full inbox, no edge) has an undeliverable message that says why; the sender sees it.

    Args:
        thread_id: An open one. A person joins by speaking; an agent must be in it.
        sender: `agent:12`, `cli:root`, `admin:ann`, `grid`.
        execution_id: The run that says it, of an agent.

    Raises:
        ThreadNotFoundError: None of this number, or the agent is not in it.
        NotAllowedError: It is closed or has expired.
        InvalidInputError: There is nothing to read in it, too much, or the facts are not those of its kind.
        LimitExceededError: The agents have said too much without a person, or this run has.
    """
    words, facts, now = messages.words_of(text, kind), vocabulary.plain(kind, data), timezone.now()
    author = _agent_of(sender)
    with transaction.atomic():
        thread = _spoken_in(thread_id, author, sender)
        if author is not None:
            talk_caps.check_run(execution_id)
            talk_caps.check_thread(thread, kind)
        elif is_person(sender):
            enter(thread, sender)
        said = Post.objects.create(
            thread=thread,
            sender=sender[:MAX_SENDER],
            kind=kind,
            text=words,
            data=facts,
            execution_id=execution_id,
            created_at=now,
        )
        others = [agent for agent in agents_in(thread) if author is None or agent.pk != author.pk]
        rows = messages.address(said, _receivers(thread, author, others))
        body = messages.body_of(said, rows)
        changed = body.pop("rows")
        record(thread, "posted", body, rows=[*changed, grid_events.row(thread, "posts")])
        audit(sender, "thread_post", thread, {"post": said.pk, "kind": str(kind), "messages": len(rows)})
    for row in rows:
        if row.state == Message.State.QUEUED:
            messages.hand_over(row.agent, row)
    asked.wake([row.agent_id for row in rows if row.wakes])
    return said


def send(
    sender: Agent,
    receiver: Agent,
    *,
    kind: MessageKind = MessageKind.CHAT,
    text: str,
    data: Mapping[str, Any] | None = None,
    execution_id: UUID | None = None,
) -> Receipt:
    """Say something to another agent directly, in an agent's name; call it outside any transaction.

    Raises:
        AgentNotFoundError: The topology does not let it, in the words that are used for agents that do not exist.
        InvalidInputError, LimitExceededError: As `post`.
    """
    if not reach.verdict(sender, receiver).allowed:
        raise AgentNotFoundError(reach.STRANGER)
    talk_caps.check_run(execution_id)
    talk_caps.check_pair(sender, receiver, kind)
    receipt = messages.tell(
        receiver.pk, sender=sender.stream, kind=kind, text=text, data=data, execution_id=execution_id
    )
    if kind in vocabulary.ASKING:
        asked.wake([receiver.pk])
    return receipt


def close(thread_id: int, *, by: str, reason: str) -> bool:
    """Close a thread; what is on its way still gets there. Returns whether it was open. Raises ThreadNotFoundError."""
    with transaction.atomic():
        thread = get(thread_id)
        fields = {
            "state": Thread.State.CLOSED,
            "closed_by": by[:MAX_SENDER],
            "reason": one_line(reason, 300),
            "closed_at": timezone.now(),
        }
        if not Thread.objects.filter(pk=thread_id, state=Thread.State.OPEN).update(**fields):
            return False
        for name, value in fields.items():
            setattr(thread, name, value)
        record(
            thread, "closed", {"by": thread.closed_by, "reason": thread.reason}, rows=[grid_events.row(thread, *fields)]
        )
        audit(by, "thread_close", thread, {"reason": thread.reason})
    return True


def expire() -> int:
    """Close the threads whose time is over, or in which nobody is left to hear anything; returns how many.

    Those about conflicts end with their conflicts.
    """
    opened = Thread.objects.filter(state=Thread.State.OPEN).order_by("pk")
    late = opened.filter(expires_at__lte=timezone.now())
    inside = ThreadMember.objects.filter(thread=OuterRef("pk"), left_at=None, agent__isnull=False)
    listening = inside.exclude(agent__state__in=[str(state) for state in ENDED])
    empty = opened.exclude(kind=ThreadKind.CONFLICT).filter(~Exists(listening))
    count = 0
    for rows, why in ((late, "its time is over"), (empty, "every agent in it has ended")):
        count += sum(close(pk, by=GRID, reason=why) for pk in rows.values_list("pk", flat=True)[:_AT_ONCE])
    return count


def _agent_of(actor: str) -> Agent | None:
    door, _, number = actor.partition(":")
    if door != "agent":
        return None
    agent = Agent.objects.filter(pk=int(number)).first() if number.isdecimal() and len(number) < 19 else None
    if agent is None:
        raise AgentNotFoundError(f"no agent {number[:20]!r}")
    return agent


def _spoken_in(thread_id: int, author: Agent | None, sender: str) -> Thread:
    """The thread, its row held and its count of posts moved on. Raises as `post` does."""
    if author is not None:
        member = ThreadMember.objects.filter(thread_id=thread_id, agent=author, left_at=None)
        if not member.exists():
            raise ThreadNotFoundError(f"you are in no thread {thread_id}; read_inbox shows where you are spoken to")
    rows = Thread.objects.filter(reach.open_threads(), pk=thread_id)
    if is_person(sender):
        counted = rows.update(posts=0)
    elif author is None:
        counted = rows.update(posts=F("posts"))
    else:
        counted = rows.filter(posts__lt=talk_caps.MAX_IN_THREAD).update(posts=F("posts") + 1)
    thread = get(thread_id)
    if counted:
        return thread
    if thread.state == Thread.State.CLOSED:
        raise NotAllowedError(f"thread {thread_id} was closed by {thread.closed_by}: {thread.reason}"[:400])
    if thread.expires_at is not None and thread.expires_at <= timezone.now():
        raise NotAllowedError(f"thread {thread_id} has expired")
    raise talk_caps.too_much(thread.posts)


def _receivers(thread: Thread, author: Agent | None, others: Sequence[Agent]) -> list[tuple[Agent, str]]:
    """The agents that are to hear a post, and why one cannot."""
    verdicts = reach.verdicts(author, others, thread=thread)
    waiting = Message.objects.filter(agent__in=others, state__in=messages.WAITING).order_by()
    count = dict(waiting.values("agent_id").annotate(n=Count("pk")).values_list("agent_id", "n"))
    found = []
    for agent, verdict in zip(others, verdicts, strict=True):
        is_full = count.get(agent.pk, 0) >= messages.MAX_WAITING
        full = f"its inbox is full: {messages.MAX_WAITING} messages wait" if is_full else ""
        found.append((agent, full if verdict.allowed else verdict.why))
    return found
