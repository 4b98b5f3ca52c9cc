"""Carry the changes of a plan out: rows at once, the tracker's issues by its outbox. Call it in the transaction that holds the tree.

What needs an answer of the tracker first (agents of new issues, moves under them, approvals of new texts) is written down in
`AppliedPlan.todo` and done by `plan_adopting`.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from coordinator import lifecycle, wake
from coordinator.agents import tree
from coordinator.documents import plan_nodes, untrusted
from coordinator.documents.plan_nodes import Node
from coordinator.models import Agent, AppliedPlan
from coordinator.money import ledger_sql, plan_budgets
from coordinator.rules import plan_diff, plan_origins
from coordinator.rules.plan_diff import Change, Kind
from coordinator.trees import endings, plan_adopting, plan_moves
from coordinator.trees.plan_tree import Tree
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_types import LIVE
from tracker import public_api as tracker
from tracker.public_types import Write, WriteKind

APPLIED, CHANGED = "plan.applied", "plan.agent-changed"
IN_SPEC = ("cwd", "acceptance", "files", "footprint")
TAKES_WORK = frozenset({"goal", "body", "cwd", "acceptance", "files"})
"""Changes that make the work of a run that is under way another one than what is asked for now."""
_LINES = 40


def carry_out(row: AppliedPlan, now: Tree, wanted: Node, changes: Sequence[Change]) -> None:
    """Do it all, or wish for it; `row` is stored and gets its `todo`."""
    # From the fleet down, as every taker begins: whatever envelopes are changed below, nobody waits for us crosswise.
    ledger_sql.lock(now.top.envelope.path_ids)
    acting = _Acting(row, now, wanted)
    for change in changes:
        acting.act(change)
    writes = [*acting.issue_writes(changes), acting.comment(changes)]
    tree.write(now.top, *writes)
    row.todo = acting.todo | {"writes": [write.key for write in writes[:-1]]}  # the comment may wait for a hold to end
    row.save(update_fields=["todo"])
    body = {"plan": row.pk, "actor": row.actor, "changes": plan_diff.counts(changes), "rows": [grid_events.row(row)]}
    lifecycle.record(now.top, (APPLIED, body))
    wake.drain_outbox(now.top.repository_id)


class _Acting:
    def __init__(self, row: AppliedPlan, now: Tree, wanted: Node) -> None:
        self.row, self.now = row, now
        self.have, self.want = plan_nodes.by_id(now.root), plan_nodes.by_id(wanted)
        self.todo: dict[str, Any] = {"new": [], "moves": [], "texts": [], "nudge": []}

    def act(self, change: Change) -> None:
        """The part of a change that is ours."""
        match change.kind:
            case Kind.ADD:
                self.add(change)
            case Kind.MOVE:
                self.move(change)
            case Kind.CHANGE | Kind.BUDGET:
                self.change(change)
            case Kind.DEPEND if change.id in self.have:
                self.todo["nudge"].append(self.agent(change.id).pk)
            case Kind.CANCEL:
                self.cancel(change)

    def agent(self, node_id: str) -> Agent:
        return self.now.agents[node_id]

    def key(self, node_id: str) -> Any:
        """A node's issue, as writes name it: by its key, or by the write that makes it."""
        if node_id in self.now.agents:
            return self.agent(node_id).issue.key
        return {"from": plan_adopting.write_key(self.row.pk, f"new:{node_id}")}

    # --- rows -------------------------------------------------------------------------------------------------------

    def add(self, change: Change) -> None:
        node = self.want[change.id].node
        self.todo["new"].append(
            {
                "name": node.id,
                "write": plan_adopting.write_key(self.row.pk, f"new:{node.id}"),
                "parent": change.parent,
                "profile": node.profile,
                "priority": node.priority,
                "spec": self.spec(None, node),
            }
        )

    def move(self, change: Change) -> None:
        agent = self.agent(change.id)
        # Below a new node nothing is in its place yet: an agent's new parent may still hang below the agent itself.
        if all(one in self.now.agents for one in (*self.want[change.parent].above, change.parent)):
            plan_moves.rehang(agent, parent=self.agent(change.parent))
            self.todo["nudge"].append(agent.pk)
        else:
            self.todo["moves"].append({"agent": agent.pk, "parent": change.parent})

    def change(self, change: Change) -> None:
        agent, node = self.agent(change.id), self.want[change.id].node
        spec = self.spec(agent, node)
        if _is_under_way(agent) and TAKES_WORK & change.fields.keys():
            spec["changed_during"] = str(agent.execution_id)
        lifecycle.change(
            agent,
            event=CHANGED,
            body={"plan": self.row.pk, "parts": sorted(change.fields)},
            spec=spec,
            profile=node.profile,
            priority=node.priority or 0,
        )
        if change.kind == Kind.BUDGET:
            plan_budgets.set_wish(agent, parent=agent.parent, actor=self.row.actor)
        if {"goal", "body"} & change.fields.keys():
            write = plan_adopting.write_key(self.row.pk, f"text:{change.id}")
            self.todo["texts"].append({"agent": agent.pk, "write": write})

    def spec(self, agent: Agent | None, node: Node) -> dict[str, Any]:
        """The spec of a node's agent once it is as the plan wants it; None: it is to be made."""
        had, old = (agent.spec, self.have[node.id].node) if agent is not None else ({}, None)
        at = self.row.created_at.isoformat()
        held = plan_origins.after(had.get(plan_origins.KEY, {}), old, node, actor=self.row.actor, at=at)
        rest = {name: value for name, value in had.items() if name not in (*IN_SPEC, "budget", plan_origins.KEY)}
        return rest | spec_of(node) | ({plan_origins.KEY: held} if held else {})

    def cancel(self, change: Change) -> None:
        agent = Agent.objects.select_related("issue", "repository", "parent").get(pk=self.agent(change.id).pk)
        reason = f"taken out of the plan by {self.row.actor}"
        if not endings.abandon(agent, reason=reason):
            return
        live = grid.find_executions(subjects=[agent.subject], live=True)
        grid.request_stop([run.id for run in live], reason="cancelled")
        payload = {
            "ref": agent.issue.key,
            "slot": f"plan-{self.row.pk}",
            "data": {},
            "markdown": f"Cancelled: {reason}.",
        }
        key = plan_adopting.write_key(self.row.pk, f"cancelled:{agent.pk}")
        tree.write(agent, Write(key=key, kind=WriteKind.UPSERT_COMMENT, payload=payload))
        if change.parent in self.want and agent.parent_id is not None:
            self.todo["nudge"].append(agent.parent_id)

    # --- the tracker ------------------------------------------------------------------------------------------------

    def issue_writes(self, changes: Sequence[Change]) -> Iterator[Write]:
        """Issues first, then where they hang, their texts, what they wait for, and their order."""
        yield from (self.create(change) for change in changes if change.kind == Kind.ADD)
        yield from (self.link(change.id, change.parent, "moved") for change in changes if change.kind == Kind.MOVE)
        yield from (
            self.edit(change.id)
            for change in changes
            if change.kind == Kind.CHANGE and {"goal", "body"} & change.fields.keys()
        )
        yield from self.dependencies([change.id for change in changes if change.kind == Kind.DEPEND])
        for change in changes:
            if change.kind == Kind.REORDER:
                for before, child in zip(change.order, change.order[1:], strict=False):
                    yield self.link(child, change.id, "after", after=before)

    def create(self, change: Change) -> Write:
        node = self.want[change.id].node
        payload = {"title": node.goal, "body": node.body, "labels": [], "parent": self.key(change.parent)}
        return self.write(f"new:{node.id}", WriteKind.CREATE_ISSUE, payload)

    def link(self, child: str, parent: str, word: str, *, after: str = "") -> Write:
        payload = {"parent": self.key(parent), "child": self.key(child), "replace": True}
        beside = {"after": self.key(after)} if after else {}
        return self.write(f"{word}:{child}", WriteKind.LINK_CHILD, payload | beside)

    def edit(self, node_id: str) -> Write:
        node, issue = self.want[node_id].node, self.agent(node_id).issue
        # Both texts are written and approved: what somebody else writes until then must not be lost, nor be approved.
        was = tracker.text_digest(title=issue.title, body=issue.body)
        payload = {"ref": self.key(node_id), "title": node.goal, "body": node.body, "was": was}
        return self.write(f"text:{node_id}", WriteKind.EDIT, payload)

    def dependencies(self, changed: Sequence[str]) -> Iterator[Write]:
        """What each waits for. Where old and new ones together would be a circle, the old ones go first."""
        before = {node_id: self.have[node_id].node.depends_on for node_id in changed if node_id in self.have}
        if not _is_acyclic([place.node for place in self.have.values()], [place.node for place in self.want.values()]):
            for node_id in before:
                kept = before[node_id] & self.want[node_id].node.depends_on
                if kept != before[node_id]:
                    yield self.blockers(node_id, kept, "waits-less")
        for node_id in changed:
            yield self.blockers(node_id, self.want[node_id].node.depends_on, "waits")

    def blockers(self, node_id: str, ids: Iterable[str], word: str) -> Write:
        keys = [self.key(other) for other in sorted(ids)] + list(self.now.outside.get(node_id, ()))
        return self.write(f"{word}:{node_id}", WriteKind.SET_BLOCKERS, {"ref": self.key(node_id), "blockers": keys})

    def comment(self, changes: Sequence[Change]) -> Write:
        """For people at the root of the plan."""
        lines = [f"{change.kind} {plan_diff.in_words(change)}" for change in changes[:_LINES]]
        more = [f"and {len(changes) - _LINES} more"] if len(changes) > _LINES else []
        said = untrusted.fenced("\n".join([*lines, *more]))
        markdown = f"The plan was changed by `{self.row.actor}`: {plan_diff.summary(changes)}.\n\n{said}\n"
        payload = {"ref": self.now.top.issue.key, "slot": f"plan-{self.row.pk}", "data": {}, "markdown": markdown}
        return self.write("comment", WriteKind.UPSERT_COMMENT, payload)

    def write(self, name: str, kind: WriteKind, payload: dict[str, Any]) -> Write:
        return Write(key=plan_adopting.write_key(self.row.pk, name), kind=kind, payload=payload)


def was_changed_during(agent: Agent, execution_id: UUID) -> bool:
    """Whether another thing is asked of an agent than when this run of it began; the agent as it is now."""
    return bool(agent.spec.get("changed_during") == str(execution_id))


def spec_of(node: Node) -> dict[str, Any]:
    """What `Agent.spec` holds of a node; what is empty is left out."""
    budget = plan_nodes.budget(node)
    parts: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name in IN_SPEC if (value := getattr(node, name))
    }
    return parts | ({"budget": budget} if budget else {})


def _is_under_way(agent: Agent) -> bool:
    """Whether a run of it goes on, or has ended and is still to be judged by what was asked of it."""
    return agent.execution is not None and (agent.execution.state in LIVE or not agent.is_applied)


def _is_acyclic(*forests: Sequence[Node]) -> bool:
    waits: dict[str, set[str]] = {}
    for nodes in forests:
        for node in nodes:
            waits.setdefault(node.id, set()).update(node.depends_on)
    try:
        graphlib.TopologicalSorter(waits).prepare()
    except graphlib.CycleError:
        return False
    return True
