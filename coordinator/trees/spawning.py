"""Sub-issues that an agent asks for while it runs: as many as a split may have, made now, adopted like a split's.

What was asked for stands in the agent's own event stream, in the transaction that wishes for the sub-issues; so whoever
adopts them finds it after any crash. An agent names each child by a key, and a key means one child for the agent's life.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import transaction

from coordinator import lifecycle, wake
from coordinator.agents import tree
from coordinator.launching import briefing
from coordinator.models import Agent, Envelope
from coordinator.money import budgets
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import ENDED
from coordinator.rules import proposals
from coordinator.trees import plan_tree
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_types import ChildProposal
from tracker import public_writes as tracker_writes

ASKED = "agent.child-asked"
_MANY = 1_000
"""Children that one agent can have asked for; caps keep the number far below."""
_OVER = "your run is over: nothing more can be asked for in its name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of a request for children."""

    new: tuple[str, ...]
    """Keys that are being made into sub-issues."""
    known: tuple[str, ...]
    """Keys that this agent has asked for before; nothing was done about them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One child that an agent asked for, and the state of the write that makes its issue."""

    child: ChildProposal
    """Without its text, which the write holds."""
    write: str
    issue: str
    """Key of the issue; empty while there is none."""
    error: str
    """Why it could not be made, or empty."""


def ask(
    agent_id: int,
    *,
    execution_id: UUID,
    fence: int,
    children: Sequence[ChildProposal],
    max_children: int | None = None,
    max_levels: int | None = None,
) -> Asked:
    """Have sub-issues made now, in the name of a running execution; repeating a request changes nothing.

    Args:
        agent_id: Who asks.
        execution_id: Its run, which must be the present one and hold `fence`.
        fence: The run's fencing token.
        children: Checked ones, see `read`.
        max_children: What the agent's capability allows, where that is less than the policy does.
        max_levels: Levels that may be below it by its capability; 0: no children at all.

    Raises:
        NotAllowedError: Beyond a limit, its scope is paused, or the run is over. Nothing was done then.
    """
    with transaction.atomic():
        agent, paused = _locked(agent_id)
        if agent.execution_id != execution_id or agent.state in ENDED:
            raise NotAllowedError(_OVER)
        if paused:
            raise NotAllowedError(f"the {paused} is paused: nothing new is begun in it; go on with your own work")
        before = _asked_before(agent)
        new = [child for child in children if child.key not in before]
        known = tuple(child.key for child in children if child.key in before)
        if not new:
            return Asked(new=(), known=known)
        why = complaint(agent, new, max_children=max_children, max_levels=max_levels)
        if why:
            raise NotAllowedError(why)
        wishes = proposals.writes(new, execution_id=execution_id, parent_key=agent.issue.key, made=before)
        tree.write(agent, *wishes)
        first, *others = [(ASKED, _body(child, execution_id)) for child in new]
        mine = {"execution_id": execution_id}
        lifecycle.change(agent, event=first[0], body=first[1], only_if=mine, also=others, is_splitting=True)
        told = ("agent.children-asked", {"keys": [child.key for child in new]})
        if not grid_agents.record_call(execution_id, fence=fence, events=[told]):
            raise NotAllowedError(_OVER)  # its end was committed a moment ago; all of the above is undone
        wake.drain_outbox(agent.repository_id)
    return Asked(new=tuple(child.key for child in new), known=known)


def read(agent_id: int, children: Sequence[Mapping[str, Any]]) -> list[ChildProposal]:
    """What an agent asks for, checked; blockers may be children of this request, or any that it has asked for before.

    Raises:
        GridError: One of them breaks a rule; the message names the place.
    """
    before = _asked_before(Agent.objects.get(pk=agent_id))
    ours = {str(child["key"]) for child in children}
    earlier = [[key for key in child["blocked_by"] if key in before and key not in ours] for child in children]
    alone = [
        {**child, "blocked_by": [key for key in child["blocked_by"] if key not in keys]}
        for child, keys in zip(children, earlier, strict=True)
    ]
    checked = grid_agents.read_children(alone)
    return [replace(child, blocked_by=(*child.blocked_by, *keys)) for child, keys in zip(checked, earlier, strict=True)]


def complaint(
    agent: Agent,
    children: Sequence[ChildProposal],
    *,
    max_children: int | None = None,
    max_levels: int | None = None,
) -> str:
    """Why an agent may not have these children besides those it has and those being made, or empty."""
    limits = briefing.limits_of(agent)
    asked = asked_in(agent.tree_id)
    room = budgets.child_room(agent.envelope, len(children), asked=by_level(asked))
    if room:
        return f"there is no budget for so many sub-issues: {room}"
    deepest = limits.depth if max_levels is None else min(limits.depth, agent.depth + max_levels)
    return proposals.complaint(
        children,
        have=tree.children_of(agent).total + len(pending(agent)) + plan_tree.unmade(agent),
        max_children=limits.children if max_children is None else min(limits.children, max_children),
        depth=agent.depth,
        max_depth=deepest,
        open_descendants=tree.open_descendants(agent.tree_id) + asked.total(),
        max_open=limits.open_descendants,
    )


def requests(agent: Agent) -> list[Request]:
    """What the agent's last run asked for, while it ran and by its outcome, in that order."""
    if agent.execution_id is None:
        return []
    run = str(agent.execution_id)
    found = {row.body["key"]: _child(row.body) for row in _events(agent) if row.body["execution"] == run}
    outcome = grid.get_execution(agent.execution_id).result.outcome
    for child in outcome.children if outcome is not None else ():
        found.setdefault(child.key, child)
    writes = {proposals.write_key(agent.execution_id, key): child for key, child in found.items()}
    # What an outcome asked for and the caps forbade was never wished for.
    results = tracker_writes.results(writes)
    return [
        Request(
            child=child,
            write=key,
            issue=str(results[key].value.get("key", "")) if results[key].is_done else "",
            error=results[key].error if results[key].is_permanent and not results[key].is_done else "",
        )
        for key, child in writes.items()
        if key in results
    ]


def pending(agent: Agent) -> list[Request]:
    """Of these, those that are no agents yet."""
    if not agent.is_splitting:
        return []
    asked = requests(agent)
    keys = [row.issue for row in asked if row.issue]
    have = set(Agent.objects.filter(parent_id=agent.pk, issue__key__in=keys).values_list("issue__key", flat=True))
    return [row for row in asked if row.issue not in have]


def asked_in(tree_id: int) -> Counter[int]:
    """By the id of an agent of a tree: how many agents runs and plans have asked for below it that are none yet."""
    found = plan_tree.unmade_below(tree_id)
    found.update({row.pk: len(pending(row)) for row in _splitting(tree_id)})
    return found


def by_level(asked: Mapping[int, int]) -> Counter[int]:
    """The same by the id of an envelope: each agent that was asked for counts on every level above it, and on no other."""
    found: Counter[int] = Counter()
    for agent in Agent.objects.filter(pk__in=asked).select_related("envelope"):
        found.update(dict.fromkeys(agent.envelope.path_ids, asked[agent.pk]))
    return found


def unasked(agent: Agent, children: Sequence[ChildProposal]) -> list[ChildProposal]:
    """Those of an outcome's children that the same run has not asked for while it ran."""
    asked = {row.child.key for row in requests(agent)}
    return [child for child in children if child.key not in asked]


def write_keys(agent: Agent) -> list[str]:
    """Operation keys of all that the agent's last run asked for."""
    return [row.write for row in requests(agent)]


def key_of_children(agent: Agent) -> dict[str, str]:
    """By the key of each issue that the agent's runs asked for: the key under which it was asked for."""
    writes = {
        proposals.write_key(UUID(row.body["execution"]), row.body["key"]): row.body["key"] for row in _events(agent)
    }
    return {
        str(result.value["key"]): writes[key]
        for key, result in tracker_writes.results(writes).items()
        if "key" in result.value
    }


def _locked(agent_id: int) -> tuple[Agent, str]:
    """The agent, and what is paused above it, both locked until the transaction ends.

    So the agents of one tree count its children one after the other, and no pause is overtaken. Envelopes are locked from the
    fleet down, as every other taker does it.
    """
    rows = Agent.objects.select_for_update(of=("self",), no_key=True)
    agent = rows.select_related("issue", "repository", "envelope").get(pk=agent_id)
    path = agent.envelope.path_ids
    locked = list(Envelope.objects.select_for_update(no_key=True).filter(pk__in=path).order_by("pk"))
    return agent, budgets.paused_scope(locked)


def _asked_before(agent: Agent) -> dict[str, str]:
    """By their keys, the writes of the children that exist or are being made; what was taken back may be asked for again."""
    writes = {
        row.body["key"]: proposals.write_key(UUID(row.body["execution"]), row.body["key"]) for row in _events(agent)
    }
    results = tracker_writes.results(writes.values())
    return {key: write for key, write in writes.items() if not results[write].value.get("withdrawn")}


def _splitting(tree_id: int) -> list[Agent]:
    rows = Agent.objects.filter(is_splitting=True)
    return [*rows.filter(pk=tree_id), *rows.filter(root_id=tree_id)]


def _events(agent: Agent) -> list[Any]:
    return grid_events.latest_events(stream=agent.stream, kinds=[ASKED], limit=_MANY)


def _body(child: ChildProposal, execution_id: UUID) -> dict[str, Any]:
    return {
        "execution": str(execution_id),
        "key": child.key,
        "title": child.title,
        "acceptance": list(child.acceptance),
        "profile": child.profile,
        "prompt": child.prompt,
        **({"footprint": list(child.footprint)} if child.footprint else {}),
    }


def _child(body: Mapping[str, Any]) -> ChildProposal:
    return ChildProposal(
        key=body["key"],
        title=body["title"],
        body="",
        acceptance=tuple(body["acceptance"]),
        profile=body["profile"],
        prompt=body["prompt"],
        footprint=tuple(body.get("footprint", ())),
    )
