"""Carry an applied plan through once the tracker has done its part: new agents, moves under them, approved texts, nudges.

Every step may be repeated; `AppliedPlan.todo` says what there is to do, and the rows say what of it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import approvals, dispatch, lifecycle, plan_moves, plan_nodes, plan_tree, roster, tree, wake
from coordinator import plan_budgets as plan_money
from coordinator.models import Agent, AppliedPlan
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import ENDED, AgentState, Source
from grid import public_events as grid_events
from tracker import public_api as tracker
from tracker.public_types import CloseReason, Ref, Write, WriteKind, WriteResult

PREFIX = "plan:"
"""How the keys of a plan's writes begin; its number follows."""
CARRIED_OUT = "plan.carried-out"
_MANY = 100
_LEFT = "The plan was to change this issue, and did not: {why}. Export the plan again to change it."


def write_key(plan_id: int, name: str) -> str:
    """Operation key of one of a plan's writes: it is carried out once, however often the plan is looked at."""
    return f"{PREFIX}{plan_id}:{name}"


def plan_of(key: str) -> int | None:
    """The plan that a write belongs to."""
    number = key.removeprefix(PREFIX).partition(":")[0] if key.startswith(PREFIX) else ""
    return int(number) if number.isdecimal() else None


def pending(tree_id: int) -> tuple[AppliedPlan, list[WriteResult]] | None:
    """A plan of a tree whose writes are still being carried out, and which these are."""
    for row in AppliedPlan.objects.filter(tree_id=tree_id, is_open=True).order_by("pk"):
        found = tracker.results(row.todo.get("writes", ()))
        waiting = [result for result in found.values() if not result.is_done and not result.is_permanent]
        if waiting:
            return row, waiting
    return None


def unmade(agent: Agent) -> int:
    """How many children of an agent plans have asked for that are no agents yet."""
    return plan_tree.unmade(agent.tree_id, parent=agent)


def open_plans() -> list[int]:
    """Ids of plans that are not carried through yet, oldest first; those with a write that failed wait for its retry."""
    rows = AppliedPlan.objects.filter(is_open=True, error="").order_by("pk")
    return list(rows.values_list("pk", flat=True)[:_MANY])


def finish(plan_id: int) -> bool:
    """Do what is left of a plan; call it outside any transaction, after the tracker's writes.

    Returns:
        Whether nothing of it is left. False as well while the tracker has not answered, or where a write has failed for ever.
    """
    with transaction.atomic():
        plans = AppliedPlan.objects.select_for_update(of=("self",), no_key=True).select_related("agent", "tree")
        row = plans.filter(pk=plan_id, is_open=True).first()
        if row is None:
            return True
        results = tracker.results(row.todo.get("writes", ()))
        if any(not result.is_done and not result.is_permanent for result in results.values()):
            return False
        failed = sorted(result.error for result in results.values() if not result.is_done)
        error = f"a write to the tracker failed: {failed[0]}"[:1000] if failed else ""
        plan_tree.hold(row.tree_id)
        finishing = _Finishing(row, results)
        finishing.run()
        if error and error == row.error:
            return False  # told before; its retry brings us here again
        row.error, row.is_open, row.finished_at = error, bool(error), None if error else timezone.now()
        row.todo = {**row.todo, "nudge": []}
        row.save(update_fields=["error", "is_open", "finished_at", "todo"])
        rows = [grid_events.row(row, "error", "is_open", "finished_at", "todo")]
        lifecycle.record(row.agent, (CARRIED_OUT, {"plan": row.pk, "error": row.error, "rows": rows}))
        wake.drain_outbox(row.agent.repository_id)
    finishing.nudge()
    return not failed


class _Finishing:
    def __init__(self, row: AppliedPlan, results: Mapping[str, WriteResult]) -> None:
        self.row, self.results = row, results
        self.made: dict[str, Agent] = {}
        self.wanted: list[int] = list(row.todo.get("nudge", ()))

    def run(self) -> None:
        """Parents before children, as they stand in the list."""
        for item in self.row.todo.get("new", ()):
            self.adopt(item)
        for item in self.row.todo.get("moves", ()):
            self.move(item)
        for item in self.row.todo.get("texts", ()):
            self.approve(item)

    def adopt(self, item: Mapping[str, Any]) -> None:
        made, parent = self.results.get(item["write"]), self.agent(item["parent"])
        key = str(made.value.get("key", "")) if made is not None and made.is_done else ""
        if not key:
            return
        if parent is None or parent.state in ENDED:  # cancelled since: nobody is to work on it
            payload = {"ref": key, "reason": str(CloseReason.NOT_PLANNED)}
            tree.write(self.row.agent, Write(key=f"unwanted:plan:{key}", kind=WriteKind.CLOSE, payload=payload))
            return
        ref = Ref(parent.repository.scope, key)
        issue_id = tracker.issue_id(ref, repository_id=parent.repository_id)
        known = Agent.objects.filter(issue_id=issue_id).select_related("repository", "envelope", "issue").first()
        if known is not None:
            self.made[item["name"]] = known
            return
        inherited = {name: parent.spec[name] for name in ("adapter", "options") if name in parent.spec}
        agent = roster.take_on(
            issue_id=issue_id,
            repository_id=parent.repository_id,
            parent=parent,
            spec={**inherited, **item["spec"]},
            profile=item["profile"],
            priority=parent.priority if item["priority"] is None else item["priority"],
        )
        self.made[item["name"]] = agent
        by = approvals.INHERITED if self.row.actor.startswith("agent:") else self.row.actor
        approvals.approve_present(agent, by=by, at=timezone.now())
        plan_money.set_wish(agent, parent=parent, actor=self.row.actor)
        dispatch.nudge(agent.pk, source=Source.PARENT, reason=f"made by {self.row}, {self.row.actor}")

    def move(self, item: Mapping[str, Any]) -> None:
        agent, parent = self.agent(f"a{item['agent']}"), self.agent(item["parent"])
        if agent is None or parent is None or agent.state in ENDED or parent.state in ENDED:
            return
        try:
            with transaction.atomic():
                is_moved = plan_moves.rehang(agent, parent=parent)
        except NotAllowedError as error:  # no room by now; it stays where it is, and the next export shows that
            lifecycle.record(agent, ("plan.agent-not-moved", {"plan": self.row.pk, "why": str(error)[:500]}))
            return
        if is_moved:
            self.wanted.append(agent.pk)

    def approve(self, item: Mapping[str, Any]) -> None:
        """The texts as the tracker holds them since our write; what anybody wrote after it is not approved by it."""
        result, agent = self.results.get(item["write"]), self.agent(f"a{item['agent']}")
        if result is None or not result.is_done or agent is None:
            return
        if "refused" in result.value:
            self.tell_left(agent, str(result.value["refused"]))
        if "title" not in result.value:
            return
        title, body = result.value["title"], result.value["body"]
        approvals.approve(agent, title=title, body=body, by=self.row.actor, at=timezone.now())

    def tell_left(self, agent: Agent, why: str) -> None:
        """Tell people that a text is not what the plan says, once."""
        name = f"text-left:{agent.pk}"
        key = agent.issue.key
        payload = {"ref": key, "slot": f"plan-{self.row.pk}-left", "data": {}, "markdown": _LEFT.format(why=why)}
        write = Write(key=write_key(self.row.pk, name), kind=WriteKind.UPSERT_COMMENT, payload=payload)
        if tracker.results([write.key]):
            return
        tree.write(agent, write)
        lifecycle.record(agent, ("plan.text-left", {"plan": self.row.pk, "why": why[:500]}))

    def nudge(self) -> None:
        """Look at those whose place or blockers changed, each by itself and outside the transaction above, which holds envelopes.

        What a crash loses here is found by the sweep, which decides deferred nudges again.
        """
        idle = {str(AgentState.REVIEW), *map(str, ENDED)}
        rows = Agent.objects.filter(pk__in=set(self.wanted)).exclude(state__in=idle).order_by("-depth", "pk")
        for agent_id in rows.values_list("pk", flat=True):
            dispatch.nudge(agent_id, source=Source.PARENT, reason=f"{self.row}, {self.row.actor}")

    def agent(self, name: str) -> Agent | None:
        """An agent by its node's id, or by the name under which this plan made it."""
        number = plan_nodes.agent_number(name)
        if number is None:
            return self.made.get(name)
        rows = Agent.objects.select_related("repository", "envelope", "issue", "parent")
        return rows.filter(pk=number).first()
