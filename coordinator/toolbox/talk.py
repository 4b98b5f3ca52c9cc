"""Tools for words between an agent and those next to it: its parent and its children, nobody else."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from coordinator import messages
from coordinator.toolbox.context import Call, Name, relative_of


def send_message(
    call: Call, to: Name, text: Annotated[str, Field(min_length=1, max_length=messages.MAX_CHARACTERS)]
) -> dict[str, Any]:
    """Say something to your parent or to one of your children. The answer tells how it gets there.

    An agent that does not run is told when it runs next; nothing is started by it.
    """
    receipt = messages.tell(relative_of(call, to).pk, sender=f"agent:{call.agent_id}", text=text)
    return {"message": receipt.id, "state": receipt.state, "how": receipt.how}


def read_inbox(call: Call, limit: Annotated[int, Field(ge=1, le=50)] = 20) -> dict[str, Any]:
    """The last messages to you, oldest first, those you have seen as well. New ones also come by themselves with tool results."""
    agent = call.agent()
    waiting = {row.pk for row in messages.with_answer(agent, execution_id=call.caller.execution_id)}
    found = messages.inbox(agent, limit=limit)
    return {
        "messages": [
            {
                "from": messages.sender_of(row, agent),
                "text": row.text,
                "at": row.created_at.isoformat(timespec="seconds"),
                "new": row.pk in waiting,
            }
            for row in found
        ]
    }
