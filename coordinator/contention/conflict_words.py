"""What is said about a conflict: to those who decide, and to the two. Reads rows; decides and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.agents import approvals, reporting
from coordinator.contention import conflict_rows
from coordinator.documents.prompt_context import Dispute, Side
from coordinator.documents.untrusted import one_line
from coordinator.models import Agent, Conflict
from coordinator.rules import conflict_rules as rules
from coordinator.rules.conflict_rules import Choice, Decision, Kind
from tracker import public_api as tracker

_MET: Mapping[str, str] = {
    Kind.LOCK: "agent {requester} asks for what agent {holder} has locked",
    Kind.OVERLAP: "agent {requester} is to change files that agent {holder} changes now",
    Kind.MERGE: "the work of agent {requester} cannot be merged with what agent {holder} has merged",
    Kind.DEADLOCK: "agents {requester} and {holder} wait for each other",
}
_MEANS: Mapping[Choice, str] = {
    Choice.RELEASE: "agent {holder} is asked to give the files back, and loses them after {grace} seconds",
    Choice.SEQUENCE: "one goes first, the other one stops and is started again when the first has ended; `first` says who",
    Choice.FORK: "both change the files, each on its branch; what does not fit together you merge later",
    Choice.MERGE_PLAN: "both change the files; the agent named by `merger` ({requester}, {holder} or you) merges, last",
}


def what(row: Conflict) -> str:
    """What the two met at, in a sentence."""
    return _MET[row.kind].format(requester=row.requester_id, holder=row.holder_id)


def meanings(row: Conflict, *, grace: int) -> tuple[str, ...]:
    """The choices, each with what happens then."""
    values = {"requester": row.requester_id, "holder": row.holder_id, "grace": grace}
    return tuple(f"{choice}: {_MEANS[choice].format(**values)}" for choice in rules.choices(Kind(row.kind)))


def default_of(row: Conflict) -> Decision:
    """What is decided when nobody does."""
    kind, sides = Kind(row.kind), conflict_rows.sides(row)
    issues = dict(Agent.objects.filter(pk__in=[sides.requester, sides.holder]).values_list("pk", "issue_id"))
    waits = kind == Kind.OVERLAP and issues[sides.requester] in tracker.blocker_ids(issues[sides.holder])
    return rules.default(kind, sides, holder_waits_for_requester=waits)


def decided(row: Conflict, decision: Decision) -> str:
    """A decision in a sentence."""
    order = decision.order
    match decision.choice:
        case Choice.RELEASE:
            return f"agent {row.holder_id} gives the files back to agent {row.requester_id}"
        case Choice.SEQUENCE:
            return f"agent {order[0]} goes first; agent {order[1]} waits and is started again after it"
        case Choice.FORK:
            return f"both go on, each on its own branch; agent {order[0]} merges what does not fit together"
    return f"both go on; agent {order[0]} merges, after the others have ended"


def decided_of(row: Conflict) -> str:
    """What is decided in a sentence; empty of one that is not."""
    found = conflict_rows.decision(row)
    return f"{found.choice}: {decided(row, found)}, by {_by(row)}" if found is not None else ""


def opening(row: Conflict) -> str:
    """What the two and their arbiter are told when a conflict is opened."""
    who = f"agent {row.arbiter_id}" if row.arbiter_id else "a person"
    until = f"{row.default_at:%H:%M:%S} UTC"
    return (
        f"Conflict {row.pk} about {paths(row)}: {what(row)}. {who[0].upper()}{who[1:]} decides until {until}; "
        f"without a decision, {decided(row, default_of(row))}.\n"
        f"Agent {row.requester_id}: leave these files alone until then. Go on elsewhere, or end your run as `blocked`: "
        "you are started again when it is decided."
    )


def decision(row: Conflict) -> str:
    """What everybody is told when it was decided."""
    found = conflict_rows.decision(row)
    if found is None:
        return f"Conflict {row.pk} is not decided."
    why = f" Why: {row.words}" if row.words else ""
    first = (
        f"Conflict {row.pk} about {paths(row)} is decided by {_by(row)}: {found.choice}, {decided(row, found)}.{why}"
    )
    return "\n".join([first, *_advice(row, found)])


def _advice(row: Conflict, found: Decision) -> list[str]:
    match found.choice:
        case Choice.RELEASE:
            until = f" until {row.act_at:%H:%M:%S} UTC" if row.act_at else ""
            return [
                f"Agent {row.holder_id}: commit what you have there and give the lock back with release_lock{until}; "
                "after that it is taken from you, and what you write there later is refused."
            ]
        case Choice.SEQUENCE:
            return [
                f"Agent {found.order[1]}: finish without these files, or commit and end your run now; it is interrupted "
                f"otherwise, with your work kept. When agent {found.order[0]} has ended, merge its work before you change them."
            ]
    return [f"Both may change {paths(row)} now. Keep your changes there small, so that they can be merged."]


def in_prompt(rows: Sequence[Conflict], *, grace: int = 30) -> tuple[Dispute, ...]:
    """Conflicts for the prompt of whoever decides them."""
    if not rows:
        return ()
    ids = {pk for row in rows for pk in (row.requester_id, row.holder_id)}
    agents = Agent.objects.select_related("issue").in_bulk(ids)
    says = reporting.last_states([agent.stream for agent in agents.values()])

    def side(row: Conflict, name: str) -> Side:
        agent = agents[row.requester_id if name == "requester" else row.holder_id]
        told: Mapping[str, Any] = row.facts.get(name) or {}
        return Side(
            agent=str(agent.pk),
            key=agent.issue.key,
            title=title_of(agent),
            state=agent.state,
            says=says.get(agent.stream, "") or str(told.get("says", "")),
            reason=str(row.facts.get("reason", "")) if name == "requester" else "",
            patch=str(told.get("patch", "")),
        )

    return tuple(
        Dispute(
            number=str(row.pk),
            what=what(row),
            paths=tuple(one_line(path, 300) for path in row.patterns),
            requester=side(row, "requester"),
            holder=side(row, "holder"),
            choices=meanings(row, grace=grace),
            default=f"at {row.default_at:%H:%M:%S} UTC: {decided(row, default_of(row))}",
        )
        for row in rows
    )


def title_of(agent: Agent) -> str:
    """The title of an agent's issue, where somebody has approved it; the agent comes with its issue."""
    return agent.issue.title if approvals.is_issue_approved(agent) else approvals.UNAPPROVED_TITLE


def paths(row: Conflict) -> str:
    """What a conflict is about, as people and models are shown it."""
    shown = ", ".join(one_line(path, 120) for path in row.patterns[:5])
    return f"{shown} and {len(row.patterns) - 5} more" if len(row.patterns) > 5 else shown or "the same files"


def _by(row: Conflict) -> str:
    if row.decided_by.startswith("agent:"):
        return f"agent {row.decided_by.removeprefix('agent:')}"
    return {"default": "the default, as nobody did", "policy": "the policy"}.get(row.decided_by, row.decided_by)
