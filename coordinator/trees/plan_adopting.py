"""Carry an applied plan through once the tracker has done its part: new agents, moves under them, approved texts, nudges.

Every step may be repeated. `AppliedPlan.todo` says what is left: what is done is taken off in the same transaction, so that a write
that is retried long after does not do it again over what people have changed since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import lifecycle, wake
from coordinator.agents import approvals, roster, tree
from coordinator.documents import plan_nodes
from coordinator.launching import dispatch
from coordinator.models import Agent, AppliedPlan
from coordinator.money import plan_budgets as plan_money
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import ENDED, AgentState, Source
from coordinator.trees import plan_moves, plan_tree
from grid import public_events as grid_events
from tracker import public_api as tracker
from tracker import public_writes as tracker_writes
from tracker.public_types import CloseReason, Ref, Write, WriteKind, WriteResult

PREFIX = "plan:"
"""How the keys of a plan's writes begin; its number follows."""
CARRIED_OUT, WAITS = "plan.carried-out", "plan.move-waits"
_MANY = 100
_LEFT = "The plan was to change this issue, and did not: {why}. Export the plan again to change it."


def write_key(plan_id: int, name: str) -> str:
    """Operation key of one of a plan's writes: it is carried out once, however often the plan is looked at."""
    return f"{PREFIX}{plan_id}:{name}"


def plan_of(key: str) -> int | None:
    """The plan that a write belongs to."""
    number = key.removeprefix(PREFIX).partition(":")[0] if key.startswith(PREFIX) else ""
    return int(number) if number.isdecimal() else None


def pending(tree_id: int) -> str:
    """Why no other plan can be applied to a tree now, or empty: an earlier one is still being carried out."""
    for row in AppliedPlan.objects.filter(tree_id=tree_id, is_open=True).order_by("pk"):
        found = tracker_writes.results(row.todo.get("writes", ()))
        waiting = [result for result in found.values() if not result.is_done and not result.is_permanent]
        moves = ", ".join(f"a{agent_id}" for agent_id in row.todo.get("busy", ())[:10])
        if waiting:
            error = next((result.error for result in waiting if result.error), "")
            what = f"{len(waiting)} writes to the tracker wait{f' ({error[:200]})' if error else ''}. Try again in a moment"
        elif moves:
            what = f"it moves {moves} when no run goes on there or below; wait for that, or cancel what runs"
        elif not row.error:
            what = "its last step is still to be done. Try again in a moment"
        else:
            continue  # a person has to look at what failed; that keeps nobody from planning
        return f"plan {row.revision} of this tree is still being carried out: {what}"
    return ""


def unmade(agent: Agent) -> int:
    """How many children of an agent plans have asked for that are no agents yet."""
    return plan_tree.unmade(agent)


def open_plans() -> list[int]:
    """Ids of plans of which something may be done now, oldest first; what follows a write that failed waits for its retry."""
    rows = AppliedPlan.objects.filter(is_open=True).order_by("pk").values_list("pk", "error", "todo")
    return [pk for pk, error, todo in rows if not error or todo.get("busy")][:_MANY]


def finish(plan_id: int) -> bool:
    """Do what is left of a plan; call it outside any transaction, after the tracker's writes.

    Returns:
        Whether nothing of it is left. False as well while the tracker has not answered, where a write has failed for ever,
        or while an agent that is to be moved is at work.
    """
    with transaction.atomic():
        plans = AppliedPlan.objects.select_for_update(of=("self",), no_key=True).select_related("agent", "tree")
        row = plans.filter(pk=plan_id, is_open=True).first()
        if row is None:
            return True
        results = tracker_writes.results(row.todo.get("writes", ()))
        if any(not result.is_done and not result.is_permanent for result in results.values()):
            return False
        failed = sorted(result.error for result in results.values() if not result.is_done)
        error = f"a write to the tracker failed: {failed[0]}"[:1000] if failed else ""
        plan_tree.hold(row.tree_id)
        finishing = _Finishing(row, results)
        finishing.run()
        _note(row, error=error, left=finishing.left)
    finishing.nudge()
    return not row.is_open


def _note(row: AppliedPlan, *, error: str, left: Mapping[str, Any]) -> None:
    """Store what is left of a plan, and tell it where that is news."""
    is_open, todo = bool(error or left["busy"]), {**row.todo, **left}
    if is_open and (error, todo) == (row.error, row.todo):
        return
    # That a write failed is told once; its retry brings us here again.
    kind, body = (
        (WAITS, {"agents": left["busy"]}) if is_open and error == row.error else (CARRIED_OUT, {"error": error})
    )
    row.error, row.is_open, row.todo, row.finished_at = error, is_open, todo, None if is_open else timezone.now()
    row.save(update_fields=["error", "is_open", "finished_at", "todo"])
    rows = [grid_events.row(row, "error", "is_open", "finished_at", "todo")]
    lifecycle.record(row.agent, (kind, {"plan": row.pk, **body, "rows": rows}))
    wake.drain_outbox(row.agent.repository_id)


class _Finishing:
    def __init__(self, row: AppliedPlan, results: Mapping[str, WriteResult]) -> None:
        self.row, self.results = row, results
        self.made: dict[str, Agent] = {}
        self.wanted: list[int] = list(row.todo.get("nudge", ()))
        self.left: dict[str, Any] = {"new": [], "moves": [], "texts": [], "busy": [], "nudge": []}

    def run(self) -> None:
        """Parents before children, as they stand in the list; what cannot be done yet is `left`."""
        for name, act in (("new", self.adopt), ("moves", self.move), ("texts", self.approve)):
            for item in self.row.todo.get(name, ()):
                if not act(item):
                    self.left[name].append(self.by_id(item))

    def by_id(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The same item with its parent's id in place of the name under which the plan made it: no later pass knows that."""
        made = self.made.get(item.get("parent", ""))
        return {**item, "parent": plan_tree.name_of(made)} if made is not None else dict(item)

    def adopt(self, item: Mapping[str, Any]) -> bool:
        """Make an agent of a new issue; False while there is no issue."""
        made, parent = self.results.get(item["write"]), self.agent(item["parent"])
        key = str(made.value.get("key", "")) if made is not None and made.is_done else ""
        if not key:
            return False
        if parent is None or parent.state in ENDED:  # cancelled since: nobody is to work on it
            payload = {"ref": key, "reason": str(CloseReason.NOT_PLANNED)}
            tree.write(self.row.agent, Write(key=f"unwanted:plan:{key}", kind=WriteKind.CLOSE, payload=payload))
            return True
        ref = Ref(parent.repository.scope, key)
        issue_id = tracker.issue_id(ref, repository_id=parent.repository_id)
        known = Agent.objects.filter(issue_id=issue_id).select_related("repository", "envelope", "issue").first()
        if known is not None:
            self.made[item["name"]] = known
            return True
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
        return True

    def move(self, item: Mapping[str, Any]) -> bool:
        """Hang an agent under its new parent; False while that is not made, or while a run goes on that began meanwhile."""
        agent, parent = self.agent(f"a{item['agent']}"), self.agent(item["parent"])
        if agent is None:
            return True
        if parent is None:
            # Its issue may still be made by a retry, or was never to have an agent as what it hung under was cancelled.
            return all(one["name"] != item["parent"] for one in self.left["new"])
        ended = next((one for one in (agent, parent) if one.state in ENDED), None)
        if ended is not None:
            self.tell_not_moved(agent, f"{plan_tree.name_of(ended)} has ended")
            return True
        if agent.parent_id != parent.pk and plan_tree.busy_in(agent):
            self.left["busy"].append(agent.pk)
            return False
        try:
            with transaction.atomic():
                is_moved = plan_moves.rehang(agent, parent=parent)
        except NotAllowedError as error:  # no room by now; it stays where it is, and the next export shows that
            self.tell_not_moved(agent, str(error))
            return True
        if is_moved:
            self.wanted.append(agent.pk)
        return True

    def tell_not_moved(self, agent: Agent, why: str) -> None:
        """Tell that an agent stays where it is."""
        lifecycle.record(agent, ("plan.agent-not-moved", {"plan": self.row.pk, "why": why[:500]}))

    def approve(self, item: Mapping[str, Any]) -> bool:
        """Approve the texts as the tracker holds them since our write; what anybody wrote after it is not approved by it."""
        result, agent = self.results.get(item["write"]), self.agent(f"a{item['agent']}")
        if result is None or not result.is_done:
            return False
        if agent is not None and "refused" in result.value:
            self.tell_left(agent, str(result.value["refused"]))
        if agent is not None and "title" in result.value:
            title, body = result.value["title"], result.value["body"]
            approvals.approve(agent, title=title, body=body, by=self.row.actor, at=timezone.now())
        return True

    def tell_left(self, agent: Agent, why: str) -> None:
        """Tell people that a text is not what the plan says, once."""
        name = f"text-left:{agent.pk}"
        key = agent.issue.key
        payload = {"ref": key, "slot": f"plan-{self.row.pk}-left", "data": {}, "markdown": _LEFT.format(why=why)}
        write = Write(key=write_key(self.row.pk, name), kind=WriteKind.UPSERT_COMMENT, payload=payload)
        if tracker_writes.results([write.key]):
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
