"""One call of a tool of ours, whatever door it came through: checked, recorded, hooked, answered; and what waits is told with it."""

from __future__ import annotations

import enum
import logging
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import Error as DatabaseError

from coordinator.models import Agent
from coordinator.money import spending
from coordinator.public_errors import CoordinatorError
from coordinator.talk import inbox, messages, speakers
from coordinator.toolbox import locking, registry
from coordinator.toolbox.context import Call, open_call
from coordinator.toolbox.hooks import DOOR, FREE, REQUESTED, RESULT, hooks_for
from grid import public_agents as grid_agents
from grid.public_errors import GridError
from grid.public_toolkit import Tool, ToolkitError, call
from grid.public_types import Caller
from tracker.public_errors import TrackerError

log = logging.getLogger(__name__)
OVER = "your run is over: its tools are closed"
ENDING = "finish"
_FAULT = "the grid could not carry this out; it is recorded. Try again in a moment, or go on without it"
_SPENT = "all calls of tools that this run may make are used; it is being stopped: commit what is good, and call finish"
_SAID = 12_000


class Status(enum.StrEnum):
    """How a call ended, for doors that have codes for it."""

    OK = "ok"
    REFUSED = "refused"
    """By the tool, a limit or a rule; the text says what would be right."""
    UNKNOWN = "unknown"
    """There is no such tool for this agent."""
    OVER = "over"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one call."""

    status: Status
    value: Any
    """Plain JSON of the tool, or a text that says why not."""
    notes: tuple[str, ...] = ()
    """For the agent beside the answer: messages to it, a warning about its budget."""


def tools_of(caller: Caller) -> list[Tool]:
    """The tools that a caller may use now."""
    opened = open_call(caller)
    return registry.allowed(opened.capability) if opened is not None else []


def answer(caller: Caller, name: str, arguments: Mapping[str, Any]) -> Reply:
    """Carry out one call for a running agent; call it outside any transaction.

    Both events of it are written to the execution's stream, the first before anything else is done.

    Raises:
        django.db.Error: The database is away; nothing is known of the call.
    """
    call_id = uuid.uuid4().hex[:12]
    opened = open_call(caller)
    door = locking.DOOR if name in locking.NAMES else DOOR
    asked = {"name": name[:100], "id": call_id, "door": door, "args": dict(arguments)}
    if opened is None or not grid_agents.record_call(
        caller.execution_id, fence=caller.fence, events=[(REQUESTED, asked)]
    ):
        return Reply(status=Status.OVER, value=OVER)
    status, value = _carry_out(opened, name, arguments, call_id)
    said = value if isinstance(value, str) else {"value": value}
    body = {"name": name[:100], "id": call_id, "door": door, "ok": status == Status.OK}
    shown = {"text": said[:_SAID]} if isinstance(said, str) else said
    grid_agents.record_call(caller.execution_id, fence=caller.fence, events=[(RESULT, {**body, **shown})])
    ends = name == ENDING and status == Status.OK
    return Reply(status=status, value=value, notes=_last_word(opened) if ends else _notes(opened, name))


def _carry_out(opened: Call, name: str, arguments: Mapping[str, Any], call_id: str) -> tuple[Status, Any]:
    allowed = {tool.name: tool for tool in registry.allowed(opened.capability)}
    if name not in allowed:
        return Status.UNKNOWN, f"there is no tool {name[:60]!r} for you; you have {', '.join(allowed) or 'none'}"
    if name not in FREE and grid_agents.is_over_tool_calls(opened.caller.execution_id):
        return Status.REFUSED, _SPENT
    hooks = hooks_for(opened.caller.profile)
    try:
        return Status.OK, _at_once(call(allowed[name], arguments, context=opened, hooks=hooks, call_id=call_id))
    except (ToolkitError, CoordinatorError, GridError, TrackerError) as error:
        return Status.REFUSED, str(error)
    except DatabaseError:
        raise
    except Exception:
        log.exception("a tool failed", extra={"action": "tool", "tool": name, "agent": opened.agent_id})
        return Status.FAULT, _FAULT


def _at_once[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits: our tools and hooks do not, and the ORM wants no event loop around it."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a hook or tool of the grid waited for something; here each must go through at once")


def _notes(opened: Call, name: str) -> tuple[str, ...]:
    """What is told with a tool's answer; `read_inbox` has told the messages itself."""
    if name in locking.NAMES:
        # Who asks for locks is as a rule no model but the program around it, which has nobody to pass notes on to.
        return ()
    agent = Agent.objects.select_related("envelope").get(pk=opened.agent_id)
    waiting = [] if name == "read_inbox" else messages.with_answer(agent, execution_id=opened.caller.execution_id)
    told = [f"Message from {item.source}:\n{item.words}" for item in speakers.items(waiting, agent)]
    warning = spending.warning_for(agent)
    return (*told, *([warning] if warning else []))


def _last_word(opened: Call) -> tuple[str, ...]:
    """What is told to an agent that has reported its end: that messages wait.

    Told in full they would count as seen by a run that does nothing more, and a question among them would wake nobody.
    """
    count = inbox.count_waiting(Agent.objects.get(pk=opened.agent_id))
    if not count:
        return ()
    noun, what = ("message waits", "it") if count == 1 else ("messages wait", "them")
    return (f"{count} {noun} for you. Call read_inbox before you end your run, or leave {what} to a later one.",)
