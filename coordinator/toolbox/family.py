"""Tools about the tree: have children made, look after them, tell how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from coordinator.agents import reporting
from coordinator.care import profiles, prompt_library
from coordinator.documents import untrusted
from coordinator.launching import dispatch
from coordinator.models import Agent, Envelope
from coordinator.public_types import ENDED, Source
from coordinator.toolbox import rights
from coordinator.toolbox.context import PARENT, Call, Name, relative_of
from coordinator.trees import spawning
from grid.public_toolkit import ToolRefusedError
from grid.public_types import ChildProposal

_SUMMARY_CHARACTERS = 2_000


class Child(BaseModel):
    """A sub-issue that is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(description="Your own name for it, for ever: lower-case letters, digits and hyphens, at most 40.")
    title: str = Field(description="One line, at most 256 characters.")
    body: str = Field(default="", description="All that its agent must know: it sees nothing but its own issue.")
    blocked_by: list[str] = Field(
        default=[], description="Keys of entries of this call or an earlier one that must be done first."
    )
    acceptance: list[str] = Field(default=[], description="Shell commands that must exit 0 on its work.")
    profile: str = Field(default="", description="Name of the profile to run under; empty: the usual one.")
    prompt: str = Field(default="", description="Name of a prompt of the library; empty: the usual one.")
    footprint: list[str] = Field(
        default=[],
        description="Paths and patterns that it will change; those of one tree that overlap run one after the other.",
    )


def spawn_agents(call: Call, children: Annotated[list[Child], Field(min_length=1, max_length=100)]) -> dict[str, Any]:
    """Have sub-issues made now, each with an agent and a branch of its own, while you go on.

    They start from the work of your runs that have ended: what you have committed in this run is not in it. When you report
    `done` while some are under way, you are started again once they have ended, with their work merged into your branch.
    A key that you have used before is left alone, so repeating a call does no harm.
    """
    proposed = spawning.read(call.agent_id, [child.model_dump() for child in children])
    _check_names(call, proposed)
    asked = spawning.ask(
        call.agent_id,
        execution_id=call.caller.execution_id,
        fence=call.caller.fence,
        children=proposed,
        max_children=call.capability.children,
        max_levels=call.capability.depth,
    )
    return {
        "asked": list(asked.new),
        "known": list(asked.known),
        "note": "get_children shows them as soon as they exist"
        if asked.new
        else "nothing new: these keys exist already",
    }


def _check_names(call: Call, children: Sequence[ChildProposal]) -> None:
    """Profiles and prompts that children name exist. Raises ToolRefusedError."""
    agent = call.agent()
    wanted = {child.profile for child in children if child.profile}
    known = profiles.library_of(agent.repository_id).names("profile") if wanted else ()
    for name in sorted(wanted - set(known)):
        raise ToolRefusedError(f"there is no profile {name!r}; there are {', '.join(known)}")
    for name in sorted({child.prompt for child in children if child.prompt}):
        prompt_library.get(name, tree_id=agent.tree_id)


def nudge(call: Call, agent: Name, reason: Annotated[str, Field(max_length=300)] = "") -> dict[str, Any]:
    """Ask for a look at one of your children, or at your parent, now; what holds it up is in the answer."""
    other = relative_of(call, agent)
    source = Source.CHILD if agent.strip() == PARENT else Source.PARENT
    answer = dispatch.nudge(other.pk, source=source, reason=untrusted.one_line(reason, 300)).decision or {}
    return {"answer": answer.get("answer"), "reason": answer.get("reason"), "until": answer.get("until")}


def report_state(
    call: Call,
    status: Annotated[str, Field(min_length=1, max_length=100, description="In a few words: 'writing the tests'.")],
    done: Annotated[int, Field(ge=0, le=1_000_000)] | None = None,
    total: Annotated[int, Field(ge=1, le=1_000_000)] | None = None,
    note: Annotated[str, Field(max_length=2_000)] = "",
) -> dict[str, Any]:
    """Tell people and your parent how far you are; it changes nothing else. `done` of `total` when there is something to count."""
    if done is not None and total is not None and done > total:
        raise ToolRefusedError(f"done is {done}, more than the total of {total}")
    words = untrusted.one_line(status, 100)
    reporting.report_state(call.agent(), status=words, done=done, total=total, note=untrusted.printable(note))
    return {"reported": words}


def get_children(call: Call, state: Literal["all", "open"] = "all") -> dict[str, Any]:
    """Your children: state, summary, branch and commit of each, what it has used, and what keeps it.

    `open` leaves out those that are done or given up.
    """
    agent = call.agent()
    rows = Agent.objects.filter(parent_id=agent.pk).select_related("issue", "envelope").order_by("pk")
    keys = spawning.key_of_children(agent)
    said = reporting.last_states([row.stream for row in rows])
    asking = rights.open_requests(call)
    shown = [
        {
            **_shown(row, key=keys.get(row.issue.key, ""), said=said.get(row.stream, "")),
            **({"upgrade_request": asking[row.pk]} if row.pk in asking else {}),
        }
        for row in rows
        if state == "all" or row.state not in ENDED
    ]
    pending = [
        {"key": row.child.key, "state": f"could not be made: {row.error}"[:500] if row.error else "is being made"}
        for row in spawning.pending(agent)
    ]
    return {"children": shown, "pending": pending}


def _shown(row: Agent, *, key: str, said: str) -> dict[str, Any]:
    return {
        "agent": str(row.pk),
        "issue": row.issue.key,
        "key": key,
        "title": untrusted.one_line(row.issue.title),
        "state": row.state,
        "says": said,
        "summary": untrusted.head(untrusted.visible(row.summary), _SUMMARY_CHARACTERS),
        "needs": row.blocked_reason,
        "branch": row.branch,
        "commit": row.head,
        "failed_attempts": row.attempts,
        "used": _used(row.envelope),
    }


def _used(envelope: Envelope) -> dict[str, Any]:
    return {
        "runs": envelope.executions_spent,
        "seconds": envelope.wall_spent_seconds,
        "usd": envelope.usd_spent_micros / 1_000_000,
        "tokens": envelope.tokens_spent,
    }
