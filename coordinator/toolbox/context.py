"""Who calls a tool of ours, and whom it may name. Everything an agent names is looked up among its own parent and children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field

from coordinator.care import profiles
from coordinator.models import Agent
from coordinator.rules.capability import Capability
from grid.public_toolkit import ToolRefusedError
from grid.public_types import Caller

PARENT = "parent"
STRANGER = "there is no such agent among your children; get_children lists them, and 'parent' names your parent"
"""Said of agents that do not exist and of those of others, alike."""
_LONGEST_NUMBER = 18


def as_text(value: object) -> object:
    """A number as models like to write it, as a name."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[
    str,
    BeforeValidator(as_text),
    Field(max_length=40, description="'parent', or the number of one of your children as get_children shows it"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a tool is given beside its arguments."""

    caller: Caller
    agent_id: int
    capability: Capability

    def agent(self) -> Agent:
        """The calling agent as it is now."""
        return Agent.objects.select_related("issue", "repository", "parent").get(pk=self.agent_id)


def open_call(caller: Caller) -> Call | None:
    """What a caller may do; None when its run is not its agent's present one."""
    kind, _, issue = caller.subject.partition(":")
    if kind != "issue" or not issue.isdecimal():
        return None
    agent = Agent.objects.filter(issue_id=int(issue), execution_id=caller.execution_id).first()
    if agent is None:
        return None
    return Call(caller=caller, agent_id=agent.pk, capability=profiles.capability_of(agent))


def child_of(call: Call, name: str) -> Agent:
    """The child that an agent names. Raises ToolRefusedError."""
    number = name.strip().removeprefix("#")
    if number.isdecimal() and len(number) <= _LONGEST_NUMBER:
        row = Agent.objects.select_related("issue").filter(pk=int(number), parent_id=call.agent_id).first()
        if row is not None:
            return row
    raise ToolRefusedError(STRANGER)


def relative_of(call: Call, name: str) -> Agent:
    """The parent or child that an agent names. Raises ToolRefusedError."""
    if name.strip() != PARENT:
        return child_of(call, name)
    parent = call.agent().parent
    if parent is None:
        raise ToolRefusedError("you have no parent: your issue is the root of its tree")
    return parent
