"""Carry out the tracker writes of a repository and take their results up: new sub-issues, closed blockers."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from coordinator import approvals, dispatch, lifecycle, proposals, reports, reviewing, roster, tree
from coordinator.models import Agent
from coordinator.public_types import ENDED, AgentState, Source
from grid import public_api as grid
from tracker import public_api as tracker
from tracker.public_types import CloseReason, Ref, Write, WriteKind, WriteResult

log = logging.getLogger(__name__)
ROUND = 50
MAX_ROUNDS = 20


def drain(repository_id: int) -> int:
    """Write what is due, in order, and react; returns how many writes were handled. Call it outside a transaction."""
    handled = 0
    for _ in range(MAX_ROUNDS):
        results = tracker.drain(repository_id, now=timezone.now(), limit=ROUND)
        _react(repository_id, results)
        handled += len(results)
        # Wishes that came while we held the lease found nobody else to carry them out.
        if not results or repository_id not in tracker.due_repositories(timezone.now()):
            break
    return handled


def _react(repository_id: int, results: list[WriteResult]) -> None:
    splits = {result.key.split(":")[1] for result in results if result.key.startswith("split:")}
    for agent in Agent.objects.filter(execution_id__in=[UUID(text) for text in splits]):
        if agent.state in ENDED:
            _close_unwanted(agent, results)
        elif agent.is_splitting:
            adopt_children(agent.pk)
    for result in results:
        if result.error:
            log.warning(
                "tracker write failed", extra={"action": "outbox", "key": result.key, "error": result.error[:300]}
            )
        if result.kind == WriteKind.OPEN_CHANGE and result.key.startswith("change:"):
            reviewing.opened(result)
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
    """Make agents of the sub-issues that a split asked for, once all exist, and nudge them.

    Returns:
        Whether the split is complete now.
    """
    agent = Agent.objects.select_related("repository", "envelope__parent").get(pk=agent_id)
    if not agent.is_splitting or agent.execution_id is None or agent.state in ENDED:
        return False
    outcome = grid.get_execution(agent.execution_id).result.outcome
    children = {child.key: child for child in outcome.children} if outcome else {}
    keys = {proposals.write_key(agent.execution_id, key): child for key, child in children.items()}
    results = tracker.results(keys)
    failed = [result for result in results.values() if result.is_permanent and not result.is_done]
    if failed:
        return _split_failed(agent, failed[0].error)
    if len(results) < len(keys) or not all(result.is_done for result in results.values()):
        return False
    with transaction.atomic():
        if not Agent.objects.filter(pk=agent.pk, is_splitting=True).update(is_splitting=False):
            return False
        made = []
        for key, child in keys.items():
            ref = Ref(agent.repository.scope, results[key].value["key"])
            issue_id = tracker.issue_id(ref, repository_id=agent.repository_id)
            inherited = {name: agent.spec[name] for name in ("adapter", "options") if name in agent.spec}
            spec = {**inherited, "acceptance": list(child.acceptance), "prompt": child.prompt}
            made.append(
                roster.take_on(
                    issue_id=issue_id,
                    repository_id=agent.repository_id,
                    parent=agent,
                    spec=spec,
                    profile=child.profile,
                    priority=agent.priority,
                )
            )
        for row in made:
            approvals.inherit(row, parent=agent, now=timezone.now())
            dispatch.nudge(row.pk, source=Source.PARENT, reason="created by its parent's split")
        tree.write(agent, *reports.plan(agent))
    return True


def _split_failed(agent: Agent, error: str) -> bool:
    reason = f"a sub-issue could not be created: {error}"
    with transaction.atomic():
        if Agent.objects.filter(pk=agent.pk, is_splitting=True).update(is_splitting=False):
            lifecycle.move(agent, new=AgentState.BLOCKED, reason=reason, fields={"blocked_reason": reason[:1000]})
            tree.show_state(agent)
    return False


def _unblock(agent_ids: Collection[int]) -> None:
    """Their issues were closed: look at those that waited for them."""
    closed = Agent.objects.filter(pk__in=agent_ids).values_list("issue_id", flat=True)
    waiting = tracker.blocked_by(list(closed))
    for blocked in Agent.objects.filter(issue_id__in=waiting).exclude(pk__in=agent_ids) if waiting else ():
        dispatch.nudge(blocked.pk, source=Source.BLOCKER, reason="an issue it waited for was closed")
