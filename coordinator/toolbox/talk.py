"""Tools for words between agents: with whom, the topology says; by default parent and children, nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from django.utils import timezone
from pydantic import BeforeValidator, Field

from coordinator.documents.untrusted import head
from coordinator.models import Agent, Message, Thread
from coordinator.public_types import ThreadKind
from coordinator.rules import vocabulary
from coordinator.talk import inbox, messages, reach, speakers
from coordinator.teamwork import threads
from coordinator.toolbox.context import PARENT, Call, as_text
from grid.public_toolkit import ToolRefusedError

_LONGEST_NUMBER = 18
_TEXT_IN_LIST = 500
_Whom = Annotated[
    str,
    BeforeValidator(as_text),
    Field(
        max_length=40,
        description="'parent', the number of one of your children, or of an agent that has written to you.",
    ),
]
_Kind = Literal["chat", "status", "question", "answer", "blocked", "handoff", "result"]
_Thread = Annotated[int, Field(ge=1, le=2**53, description="Number of a thread that you are in, in place of `to`.")]
_Text = Annotated[str, Field(max_length=messages.MAX_CHARACTERS)]
_Facts = Annotated[
    dict[str, Any],
    Field(
        description="Facts of the kind. status: state, intent, done, total. question: options. answer: post, choice. "
        "blocked: on (needed), whom. handoff: what (needed), branch, commit. result: outcome (done, partly, failed), branch, commit."
    ),
]


def send_message(
    call: Call,
    to: _Whom = "",
    text: _Text = "",
    kind: _Kind = "chat",
    data: _Facts | None = None,
    thread: _Thread | None = None,
) -> dict[str, Any]:
    """Say something to your parent or a child (`to`), or in a thread that you are in (`thread`). The answer tells how it gets there.

    `chat` is words alone and starts nobody. A `question`, or `blocked`, has an agent looked at that does not run.
    """
    if bool(to) == (thread is not None):
        raise ToolRefusedError("say either to whom (`to`) or in which thread (`thread`)")
    said = vocabulary.kind_of(kind)
    agent, run = call.agent(), call.caller.execution_id
    if thread is None:
        receiver = _reached(call, agent, to)
        receipt = threads.send(agent, receiver, kind=said, text=text, data=data, execution_id=run)
        return {"message": receipt.id, "state": receipt.state, "how": receipt.how}
    post = threads.post(thread, sender=agent.stream, kind=said, text=text, data=data, execution_id=run)
    rows = Message.objects.filter(post=post).order_by("pk")
    return {
        "post": post.pk,
        "to": [
            {"agent": str(row.agent_id), "state": row.state, **({"why": row.reason} if row.reason else {})}
            for row in rows
        ],
    }


def read_inbox(
    call: Call,
    limit: Annotated[int, Field(ge=1, le=inbox.MOST)] = 20,
    thread: Annotated[int, Field(ge=1, le=2**53, description="Only what was said in this thread.")] | None = None,
) -> dict[str, Any]:
    """The last messages to you, oldest first, those you have seen as well, and what became of your own.

    New ones also come by themselves with tool results.
    """
    agent = call.agent()
    if thread is not None:
        _check_member(agent, thread)
    found = inbox.last(agent, limit=limit, thread=thread)
    new = {
        row.pk for row in messages.with_answer(agent, execution_id=call.caller.execution_id, only=[r.pk for r in found])
    }
    return {
        "messages": [
            {
                "from": item.named,
                "agent": item.sender.removeprefix("agent:") if item.sender.startswith("agent:") else None,
                "message": row.post_id,
                "kind": item.kind,
                "text": item.text,
                "data": item.data,
                "thread": item.thread,
                "subject": item.subject,
                "at": item.at.isoformat(timespec="seconds"),
                "new": item.id in new,
            }
            for item, row in zip(speakers.items(found, agent), found, strict=True)
        ],
        "waiting": inbox.count_waiting(agent),
        "sent": [
            {
                "message": one.post,
                "thread": one.thread,
                "kind": one.kind,
                "text": head(one.text, _TEXT_IN_LIST),
                "at": one.at.isoformat(timespec="seconds"),
                "to": [
                    {"agent": str(agent_id), "state": state, **({"why": why} if why else {})}
                    for agent_id, state, why in one.to
                ],
            }
            for one in inbox.sent(agent, limit=limit, thread=thread)
        ],
    }


def open_thread(
    call: Call,
    subject: Annotated[str, Field(min_length=1, max_length=200)],
    with_: Annotated[list[_Whom], Field(min_length=1, max_length=20, alias="with", description="Whom it is with.")],
    kind: Literal["chat"] = "chat",
    expires_minutes: Annotated[
        int, Field(ge=1, le=7 * 24 * 60, description="After so long nobody is told of it any more; left out: it lasts.")
    ]
    | None = None,
) -> dict[str, Any]:
    """Open a conversation of several, with agents that you may write to; `send_message` with its number speaks in it.

    All in it hear each other as long as you are in it. An operator can read along and join.
    """
    agent = call.agent()
    members = list({other.pk: other for other in (_reached(call, agent, name) for name in with_)}.values())
    thread = threads.open_thread(
        kind=ThreadKind(kind),
        subject=subject,
        members=members,
        opened_by=agent.stream,
        expires_at=timezone.now() + timedelta(minutes=expires_minutes) if expires_minutes else None,
    )
    return {"thread": thread.pk, "subject": thread.subject, "with": [str(other.pk) for other in members]}


def _reached(call: Call, agent: Agent, name: str) -> Agent:
    """The agent of a name, if this one may write to it. Raises ToolRefusedError, whatever the reason in the same words."""
    if name.strip() == PARENT:
        if agent.parent is None:
            raise ToolRefusedError("you have no parent: your issue is the root of its tree")
        return agent.parent
    number = name.strip().removeprefix("#")
    if number.isdecimal() and number.isascii() and len(number) <= _LONGEST_NUMBER:
        other = Agent.objects.filter(pk=int(number)).first()
        if other is not None and reach.verdict(agent, other).allowed:
            return other
    raise ToolRefusedError(reach.STRANGER)


def _check_member(agent: Agent, thread_id: int) -> None:
    if not Thread.objects.filter(pk=thread_id, members__agent=agent, members__left_at=None).exists():
        raise ToolRefusedError(f"you are in no thread {thread_id}; read_inbox shows where you are spoken to")
