"""An agent and everything below it as a plan shows it, read from rows and from the tracker's mirror."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Max, Q

from coordinator.agents import approvals, tree
from coordinator.care import profiles
from coordinator.documents import plan_nodes, plan_values
from coordinator.documents.plan_nodes import Node
from coordinator.models import Agent, AppliedPlan
from coordinator.public_errors import AgentNotFoundError
from coordinator.public_types import AgentState
from coordinator.rules.plan_rules import Present
from grid.public_sql import Prepared, given
from grid.public_types import LIVE
from tracker import public_api as tracker
from tracker.public_types import IssueLinks

_OPEN = Prepared(
    lambda: AppliedPlan.objects.filter(is_open=True, error="", tree=given("tree")).values_list("todo", flat=True)
)
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What is there now."""

    top: Agent
    """The document's root."""
    root: Node
    present: Present
    agents: dict[str, Agent]
    """By their ids, those of `root`; each with its issue, repository, envelope and last execution."""
    outside: dict[str, tuple[str, ...]]
    """By id: keys of issues that a node waits for and that are not in the document."""
    revision: int
    """Of the last plan that was applied to the whole tree."""
    hidden: frozenset[str] = frozenset()
    """Nodes whose texts an agent is not shown: somebody changed them who may not steer, and nobody has approved it."""

    @property
    def base(self) -> str:
        """The fingerprint."""
        return plan_nodes.fingerprint(self.root, revision=self.revision)


def read(agent_id: int, *, locks: bool = False, for_agent: bool = False) -> Tree:
    """The tree below an agent.

    Args:
        agent_id: The top.
        locks: Its rows, and those above in its tree, are held until the transaction ends.
        for_agent: Without texts that no agent may be told.

    Raises:
        AgentNotFoundError: No such agent.
    """
    top = Agent.objects.filter(pk=agent_id).first()
    if top is None:
        raise AgentNotFoundError(f"no agent {agent_id}")
    rows = Agent.objects.filter(Q(pk=top.tree_id) | Q(root_id=top.tree_id))
    if locks:
        hold(top.tree_id)
    agents = list(rows.select_related("issue", "repository", "envelope", "execution", "parent"))
    shown = _below(agents, agent_id)
    links, facts = tracker.links([row.issue_id for row in shown]), tracker.facts([row.issue_id for row in shown])
    ids = {row.issue_id: name_of(row) for row in shown}
    hidden = frozenset(name_of(row) for row in shown if for_agent and not approvals.is_issue_approved(row))
    root = _node(agent_id, shown, links, ids, hidden)
    children = {name_of(row): links[row.issue_id].children for row in shown}
    present = Present(
        state={name_of(row): row.state for row in shown},
        held=[name_of(row) for row in shown if facts[row.issue_id].held],
        busy=[name_of(row) for row in shown if _is_busy(row)],
        gone=[name_of(row) for row in agents if row.state == AgentState.ABANDONED],
        profiles=profiles.library_of(top.repository_id).names("profile"),
        levels_above=top.depth,
        closed_levels=_closed_levels(agents, shown),
        closed_children={
            place.node.id: children[place.node.id] - len(place.node.children) for place in plan_nodes.walk(root)
        },
    )
    return Tree(
        top=next(row for row in agents if row.pk == agent_id),
        root=root,
        present=present,
        agents={name_of(row): row for row in shown},
        outside={
            name_of(row): tuple(key for pk, key in links[row.issue_id].blockers if pk not in ids) for row in shown
        },
        revision=AppliedPlan.objects.filter(tree_id=top.tree_id).aggregate(last=Max("revision"))["last"] or 0,
        hidden=hidden,
    )


def hold(tree_id: int) -> None:
    """Hold a tree's agents until the transaction ends: before its envelopes, and children first, as whoever ends a run does."""
    rows = Agent.objects.filter(Q(pk=tree_id) | Q(root_id=tree_id))
    list(rows.select_for_update(of=("self",)).order_by("-depth", "pk").values_list("pk", flat=True))


def busy_in(agent: Agent) -> bool:
    """Whether an agent or anything below it is at work, or what its last run did is still to be taken up; see `hold`."""
    rows = Agent.objects.filter(pk__in=tree.subtree_ids(agent)).select_related("execution", "envelope")
    return any(_is_busy(row) for row in rows)


def unmade(agent: Agent) -> int:
    """How many children of an agent plans have asked for that are no agents yet."""
    return sum(item["parent"] == name_of(agent) for items in _unmade(agent.tree_id) for item in items)


def unmade_below(tree_id: int) -> Counter[int]:
    """By the id of an agent of a tree: how many agents plans have asked for below it that are none yet; the nearest counts."""
    found: Counter[int] = Counter()
    for items in _unmade(tree_id):
        nearest: dict[str, str] = {}
        for item in items:  # parents first
            nearest[item["name"]] = nearest.get(item["parent"], item["parent"])
            found[plan_nodes.agent_number(nearest[item["name"]]) or tree_id] += 1
    return found


def _unmade(tree_id: int) -> list[list[dict[str, Any]]]:
    return [todo.get("new", []) for todo in _OPEN.rows(tree=tree_id)]


def name_of(agent: Agent) -> str:
    """The id of an agent's node."""
    return f"a{agent.pk}"


def _below(agents: Sequence[Agent], top_id: int) -> list[Agent]:
    """The top and what hangs below it, cancelled agents and all below them left out; the top is there whatever its state."""
    children: dict[int | None, list[Agent]] = {}
    for row in agents:
        children.setdefault(row.parent_id, []).append(row)
    found, todo = [], [row for row in agents if row.pk == top_id]
    while todo:
        row = todo.pop()
        found.append(row)
        todo += [child for child in children.get(row.pk, ()) if child.state != AgentState.ABANDONED]
    return found


def _closed_levels(agents: Sequence[Agent], shown: Sequence[Agent]) -> dict[str, int]:
    """By node, how many levels of agents that are not shown hang below it; those that have any."""
    visible, above = {row.pk for row in shown}, {row.pk: row.parent_id for row in agents}
    found: dict[int, int] = {}
    for pk in above.keys() - visible:
        levels, at = 0, pk
        while at not in visible and (parent := above.get(at)) is not None:
            levels, at = levels + 1, parent
        if at in visible:
            found[at] = max(found.get(at, 0), levels)
    return {name_of(row): found[row.pk] for row in shown if row.pk in found}


def _node(
    top_id: int, rows: Sequence[Agent], links: dict[int, IssueLinks], ids: dict[int, str], hidden: frozenset[str]
) -> Node:
    below: dict[int | None, list[Agent]] = {}
    for row in rows:
        below.setdefault(row.parent_id, []).append(row)

    def build(row: Agent) -> Node:
        children = sorted(below.get(row.pk, ()), key=lambda child: (links[child.issue_id].position, child.pk))
        blockers = frozenset(ids[pk] for pk, _ in links[row.issue_id].blockers if pk in ids)
        node = replace(alone(row), depends_on=blockers, children=tuple(build(child) for child in children))
        return replace(node, goal=approvals.UNAPPROVED_TITLE, body="") if node.id in hidden else node

    return build(next(row for row in rows if row.pk == top_id))


def alone(row: Agent) -> Node:
    """An agent's node without what it depends on and without its children."""
    spec, wishes = row.spec, row.spec.get("budget", {})
    return Node(
        id=name_of(row),
        goal=" ".join(_plain(row.issue.title).split()),
        body=_plain(row.issue.body),
        cwd=spec.get("cwd", ""),
        acceptance=tuple(spec.get("acceptance", ())),
        files=tuple(spec.get("files", ())),
        profile=row.profile,
        share=wishes.get("share"),
        usd_micros=wishes.get("usd_micros"),
        footprint=tuple(_pattern(one) for one in spec.get("footprint", ())),
        priority=row.priority,
        state=row.state,
        issue=f"{row.repository.scope}#{row.issue.key}",
    )


def _is_busy(row: Agent) -> bool:
    """It runs, or what its last run did is still to be taken up."""
    is_live = row.execution is not None and row.execution.state in LIVE
    return bool(is_live or not row.is_applied or row.is_splitting or row.envelope.live)


def _plain(text: str) -> str:
    return _UNSTORABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _pattern(text: str) -> str:
    try:
        return plan_values.path(text)
    except ValueError:  # an agent's own spelling, which the locks judge
        return text
