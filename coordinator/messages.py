"""Words for agents, and how they reach them: the running program, an answer of the grid's tools, or the next run's prompt.

A message waits (`queued`) until one of the three takes it. A running program that takes input gets it at once
(`delivered`) and is believed when it says that a model saw it (`seen`). Runs remember nothing of each other: what a run
was told that came to nothing is told the next one again.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from coordinator import lifecycle
from coordinator.models import Agent, Message
from coordinator.prompt_context import Told
from coordinator.public_errors import AgentNotFoundError, InvalidInputError, LimitExceededError
from coordinator.public_types import ENDED
from coordinator.untrusted import printable
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid.public_types import ON_HOST, EventView, State

MAX_CHARACTERS = 16_000
MAX_WAITING = 100
"""Of one agent: whoever sends more has to wait until some were seen."""
IN_A_PROMPT = 20
IN_AN_ANSWER = 5
SEEN, REFUSED = "agent.inbox", "message.refused"
"""Events of an execution: its program says what became of a message; its program took it not at all."""
_WAITS = "waits: it is told by a run that starts from now on, in its prompt; one that is queued by now, a little later"
_WAITING = (Message.State.QUEUED, Message.State.DELIVERED)


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


def tell(agent_id: int, *, sender: str, text: str) -> Receipt:
    """Say something to an agent, and learn how it gets there; call it outside any transaction.

    Args:
        agent_id: To whom.
        sender: Door and name of a person (`cli:root`, `admin:ann`, `github:mona`), or `agent:12`.
        text: At most `MAX_CHARACTERS`.

    Raises:
        AgentNotFoundError: No such agent.
        InvalidInputError: There is nothing to read in it, or too much.
        LimitExceededError: Too many messages wait for this agent.
    """
    words = printable(text).strip()
    if not words:
        raise InvalidInputError("the message is empty; say something")
    if len(words) > MAX_CHARACTERS:
        raise InvalidInputError(f"the message has {len(words)} characters; at most {MAX_CHARACTERS} are delivered")
    with transaction.atomic():
        agent = Agent.objects.select_for_update(of=("self",), no_key=True).filter(pk=agent_id).first()
        if agent is None:
            raise AgentNotFoundError(f"no agent {agent_id}")
        waiting = Message.objects.filter(agent=agent, state__in=_WAITING).count()
        if waiting >= MAX_WAITING:
            raise LimitExceededError(kind="messages that wait for this agent", value=waiting, limit=MAX_WAITING)
        has_ended = agent.state in ENDED
        row = Message.objects.create(
            agent=agent,
            sender=sender[:150],
            text=words,
            state=Message.State.UNDELIVERABLE if has_ended else Message.State.QUEUED,
            reason=f"the agent is {agent.state}" if has_ended else "",
        )
        lifecycle.record(agent, ("message.told", {"message": row.pk, "sender": row.sender, "text": words[:2_000]}))
    if has_ended:
        return Receipt(id=row.pk, state=row.state, how=f"not delivered: the agent is {agent.state} and runs no more")
    return _hand_over(agent, row)


def hand_over_waiting(agent: Agent) -> int:
    """Give what waits to the program that has just started; returns how many messages it took. Outside a transaction."""
    waiting = list(Message.objects.filter(agent=agent, state=Message.State.QUEUED).order_by("pk"))
    return sum(_hand_over(agent, row).state == Message.State.DELIVERED for row in waiting)


def _hand_over(agent: Agent, row: Message) -> Receipt:
    """Give a message to the running program if there is one that takes it."""
    run = grid.get_execution(agent.execution_id) if agent.execution_id is not None else None
    if run is None or run.state not in ON_HOST:
        return Receipt(id=row.pk, state=row.state, how=_WAITS)
    # Marked first, so that a tool's answer does not carry it as well.
    live = {"state": Message.State.DELIVERED, "channel": Channel.LIVE, "execution_id": run.id}
    if not _move(row, Message.State.QUEUED, **live, delivered_at=Now()):
        return Receipt(id=row.pk, state=Message.State.SEEN, how="the running agent got it with a tool's answer")
    if grid_agents.deliver(run.id, key=str(row.pk), sender=sender_of(row, agent), text=row.text):
        return Receipt(id=row.pk, state=Message.State.DELIVERED, how="given to the running program")
    _move(row, Message.State.DELIVERED, state=Message.State.QUEUED, channel="", execution_id=None, delivered_at=None)
    how = "waits: the running program takes no input; it is told with the next answer of the grid's tools, or the next run is"
    return Receipt(id=row.pk, state=Message.State.QUEUED, how=how)


def with_answer(agent: Agent, *, execution_id: UUID) -> list[Message]:
    """What waits for a running agent, oldest first, for the answer that it gets now; it counts as seen."""
    waiting = list(Message.objects.filter(agent=agent, state=Message.State.QUEUED).order_by("pk")[:IN_AN_ANSWER])
    if not waiting:  # as a rule; a transaction would wait for other writers
        return []
    seen = {"state": Message.State.SEEN, "channel": Channel.TOOL, "execution_id": execution_id}
    with transaction.atomic():
        rows = [row for row in waiting if _move(row, Message.State.QUEUED, **seen, delivered_at=Now(), seen_at=Now())]
        if rows:
            lifecycle.record(agent, ("message.seen", {"messages": [row.pk for row in rows], "channel": Channel.TOOL}))
    return rows


def inbox(agent: Agent, *, limit: int = IN_A_PROMPT) -> list[Message]:
    """The last messages of an agent, oldest first, seen ones too."""
    return list(Message.objects.filter(agent=agent).order_by("-pk")[:limit])[::-1]


def take_note(event: EventView) -> None:
    """A run's event `SEEN` or `REFUSED`: what became of a message; of messages of other runs nothing is believed."""
    number, execution_id = str(event.body.get("id")), UUID(event.stream.removeprefix("execution:"))
    if not number.isdecimal() or len(number) > 18:
        return
    rows = Message.objects.filter(pk=int(number), execution_id=execution_id, state=Message.State.DELIVERED)
    if event.kind == SEEN and event.body.get("state") == "seen":
        rows.update(state=Message.State.SEEN, seen_at=Now())
    else:
        rows.update(state=Message.State.QUEUED, channel="", execution_id=None, delivered_at=None)


def for_next_run(agent: Agent) -> list[Message]:
    """What the next run is told, oldest first; the agent comes with its last execution."""
    wanted = Q(state__in=_WAITING)
    if agent.execution is not None and agent.execution.state != State.SUCCEEDED:
        wanted |= Q(execution_id=agent.execution_id, state=Message.State.SEEN)
    return list(Message.objects.filter(wanted, agent=agent).order_by("pk")[:IN_A_PROMPT])


def take(rows: Collection[Message], *, execution_id: UUID | None) -> None:
    """Mark what a run's prompt holds, in the transaction that launches it."""
    if rows:
        told = {"state": Message.State.SEEN, "channel": Channel.PROMPT, "execution_id": execution_id}
        Message.objects.filter(pk__in=[row.pk for row in rows]).update(**told, delivered_at=Now(), seen_at=Now())


def in_prompt(rows: Sequence[Message], agent: Agent) -> tuple[Told, ...]:
    """The same as values for a prompt."""
    return tuple(Told(sender=sender_of(row, agent), text=row.text) for row in rows)


def expire() -> int:
    """Give up what waits for agents that have ended; returns how many."""
    waiting = Message.objects.filter(state__in=_WAITING, agent__state__in=[str(state) for state in ENDED])
    return waiting.update(state=Message.State.EXPIRED, reason="the agent ended before it was told")


def sender_of(row: Message, agent: Agent) -> str:
    """Who says it, in words for the agent."""
    door, _, name = row.sender.partition(":")
    if door != "agent":
        return f"{name or door} ({'GitHub' if door == 'github' else 'an operator'})"
    if name == str(agent.parent_id):
        return "your parent"
    return f"agent {name}, one of your children"


def _move(row: Message, old: Message.State, **fields: Any) -> bool:
    return bool(Message.objects.filter(pk=row.pk, state=old).update(**fields))
