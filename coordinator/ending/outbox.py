"""Carry out the tracker writes of a repository and take their results up: new sub-issues, closed blockers."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from coordinator import lifecycle
from coordinator.agents import approvals, roster, tree
from coordinator.ending import changes, reviewing
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.money import budgets
from coordinator.public_types import ENDED, AgentState, Source
from coordinator.rules import proposals
from coordinator.trees import plan_adopting, reports, spawning
from grid.public_sql import Prepared, given_all
from tracker import public_api as tracker
from tracker import public_writes as tracker_writes
from tracker.public_types import CloseReason, Ref, Write, WriteKind, WriteResult

log = logging.getLogger(__name__)
_ISSUES = Prepared(
    lambda: Agent.objects.filter(pk__in=given_all("agents")).order_by().values_list("issue_id", flat=True)
)
ROUND = 50
MAX_ROUNDS = 20


def drain(repository_id: int) -> int:
    """Write what is due, in order, and react; returns how many writes were handled. Call it outside a transaction."""
    handled = 0
    for _ in range(MAX_ROUNDS):
        results = tracker_writes.drain(repository_id, now=timezone.now(), limit=ROUND)
        _react(repository_id, results)
        handled += len(results)
        # Wishes that came while we held the lease found nobody else to carry them out.
        if not results or repository_id not in tracker_writes.due_repositories(timezone.now()):
            break
    return handled


def _react(repository_id: int, results: list[WriteResult]) -> None:
    splits = {result.key.split(":")[1] for result in results if result.key.startswith("split:")}
    for agent in Agent.objects.filter(execution_id__in=[UUID(text) for text in splits]):
        if agent.state in ENDED:
            _close_unwanted(agent, results)
        elif agent.is_splitting:
            adopt_children(agent.pk)
    for plan_id in sorted({number for result in results if (number := plan_adopting.plan_of(result.key)) is not None}):
        plan_adopting.finish(plan_id)
    for result in results:
        if result.error:
            log.warning(
                "tracker write failed", extra={"action": "outbox", "key": result.key, "error": result.error[:300]}
            )
        if result.kind == WriteKind.OPEN_CHANGE and result.key.startswith("change:"):
            reviewing.opened(result)
            if result.is_done and result.value.get("key"):
                changes.note_end(repository_id, result.value["key"])
    closed = [r for r in results if r.kind == WriteKind.CLOSE and r.is_done and r.key.startswith("close:")]
    if closed:
        _unblock({int(result.key.split(":")[1]) for result in closed})


def _close_unwanted(agent: Agent, results: list[WriteResult]) -> None:
    """Sub-issues that were being created while their parent was cancelled."""
    prefix = proposals.write_key(agent.execution_id, "") if agent.execution_id else ""
    made = [result.value["key"] for result in results if result.key.startswith(prefix) and result.value.get("key")]
    payloads = [{"ref": key, "reason": str(CloseReason.NOT_PLANNED)} for key in made]
    writes = [Write(key=f"unwanted:{agent.pk}:{p['ref']}", kind=WriteKind.CLOSE, payload=p) for p in payloads]
    with transaction.atomic():
        tree.write(agent, *writes)


def adopt_children(agent_id: int) -> bool:
    """Make agents of the sub-issues that a run or its split asked for, once all exist, and nudge them.

    Returns:
        Whether nothing is missing any more.
    """
    with transaction.atomic():
        # Locked before the look: what a running agent asks for meanwhile must not be taken for done.
        rows = Agent.objects.select_for_update(of=("self",), no_key=True)
        agent = rows.select_related("repository", "envelope__parent").get(pk=agent_id)
        if not agent.is_splitting or agent.execution_id is None or agent.state in ENDED:
            return False
        asked = spawning.requests(agent)
        failed = [row.error for row in asked if row.error]
        if failed and agent.is_applied:
            return _split_failed(agent, failed[0])
        if any(not row.issue and not row.error for row in asked):
            return False
        # Envelopes before streams, as its run's settling takes them, which may come at this moment.
        budgets.hold(agent.envelope)
        # While its run goes on, it may ask for another in place of one that failed; its end asks a person.
        if not failed:
            lifecycle.change(agent, event="agent.children-made", is_splitting=False)
        made = [_adopt(agent, row) for row in asked if row.issue]
        if any(made):
            tree.write(agent, *reports.plan(agent))
    return not failed


def _adopt(parent: Agent, asked: spawning.Request) -> bool:
    """Make an agent of a new sub-issue; False when it has one."""
    ref = Ref(parent.repository.scope, asked.issue)
    issue_id = tracker.issue_id(ref, repository_id=parent.repository_id)
    if Agent.objects.filter(issue_id=issue_id).exists():
        return False
    child = asked.child
    inherited = {name: parent.spec[name] for name in ("adapter", "options") if name in parent.spec}
    spec = {**inherited, "acceptance": list(child.acceptance), "prompt": child.prompt}
    if child.footprint:
        spec["footprint"] = list(child.footprint)
    agent = roster.take_on(
        issue_id=issue_id,
        repository_id=parent.repository_id,
        parent=parent,
        spec=spec,
        profile=child.profile,
        priority=parent.priority,
    )
    approvals.inherit(agent, parent=parent, now=timezone.now())
    dispatch.nudge(agent.pk, source=Source.PARENT, reason="created by its parent")
    return True


def _split_failed(agent: Agent, error: str) -> bool:
    reason = f"a sub-issue could not be created: {error}"
    with transaction.atomic():
        if lifecycle.change(agent, event="agent.split-failed", only_if={"is_splitting": True}, is_splitting=False):
            lifecycle.move(agent, new=AgentState.BLOCKED, reason=reason, fields={"blocked_reason": reason[:1000]})
            tree.show_state(agent)
    return False


def _unblock(agent_ids: Collection[int]) -> None:
    """Their issues were closed: look at those that waited for them."""
    waiting = tracker.blocked_by(_ISSUES.rows(agents=agent_ids))
    for blocked in Agent.objects.filter(issue_id__in=waiting).exclude(pk__in=agent_ids) if waiting else ():
        dispatch.nudge(blocked.pk, source=Source.BLOCKER, reason="an issue it waited for was closed")
