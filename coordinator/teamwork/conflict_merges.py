"""Work that cannot be merged: who merges it, by an earlier decision, by the policy, or by the arbiter's word."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from coordinator.agents import integration
from coordinator.care import repositories
from coordinator.contention import conflict_rows
from coordinator.models import Agent, Conflict
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import AgentState
from coordinator.rules.conflict_rules import STANDING, Choice, ConflictState, Kind
from coordinator.teamwork import conflict_talk, conflicts
from coordinator.teamwork.conflicts import POLICY
from grid import public_code as grid_code
from grid.public_errors import GridError

ARBITER = "arbiter"
_SIBLINGS = 20
"""Of those that merged last, so many are looked at for who changed the same files."""


def from_merge(agent: Agent, *, paths: Sequence[str], ours: str, theirs: str) -> Conflict | None:
    """An agent's work cannot be merged upwards; outside any transaction, as it asks git.

    Who merges is said by an earlier decision about these paths, else by the policy (`conflicts`): the agent itself at once, or
    whom the arbiter names.

    Args:
        agent: Its run has ended.
        paths: What cannot be merged.
        ours: Commit of its work.
        theirs: Commit of the branch that the work is to be merged into.

    Returns:
        The conflict. None for a root, whose conflicts are with people. While `waiter` is the agent, it has to wait.
    """
    # With its own branch, into which its children were merged, it is nobody else's.
    if agent.parent_id is None or theirs == integration.branch_head(agent):
        return None
    known = Conflict.objects.filter(requester=agent, kind=Kind.MERGE, detail__ours=ours, detail__theirs=theirs)
    row = known.filter(state__in=sorted(STANDING)).order_by("-pk").first()
    if row is not None:
        return row
    plan = conflict_rows.planned_merger(agent.pk, paths)
    holder = _holder_of_merge(agent, plan, paths)
    row, is_new = conflict_rows.open_row(
        Kind.MERGE,
        requester=agent,
        holder=holder,
        patterns=paths,
        detail={"ours": ours, "theirs": theirs, "plan": plan.pk if plan is not None else None},
        seconds=conflicts.seconds_for(agent),
    )
    if not is_new:
        conflict_rows.change(row, "conflict.moved", detail={**row.detail, "ours": ours, "theirs": theirs})
    merger, by = _merger(agent, holder, row, plan)
    if merger is not None and row.state == ConflictState.OPEN:
        with contextlib.suppress(NotAllowedError):  # somebody has decided otherwise a moment ago
            return conflicts.decide(row.pk, choice=Choice.MERGE_PLAN, actor=by, order=[merger])
    conflict_talk.announce(row.pk)
    row.refresh_from_db()
    return row


def _merger(agent: Agent, holder: Agent, row: Conflict, plan: Conflict | None) -> tuple[int | None, str]:
    """Who merges, and who says so; None when the arbiter is to be asked."""
    tried = Conflict.objects.filter(requester=agent, kind=Kind.MERGE, detail__ours=row.detail["ours"])
    already = [pk for order in tried.exclude(pk=row.pk).values_list("order", flat=True) for pk in order]
    if plan is not None:
        named = plan.order[0]
        may = named in (agent.pk, row.arbiter_id) and named not in already
        return (named if may else agent.pk), plan.decided_by
    if already or row.arbiter_id is None or _policy(agent) != ARBITER:
        return agent.pk, POLICY
    return None, ""


def _holder_of_merge(agent: Agent, plan: Conflict | None, paths: Sequence[str]) -> Agent:
    """The sibling whose merged work is in the way, as far as that can be told; else the parent."""
    if plan is not None:
        other = Agent.objects.get(pk=conflict_rows.sides(plan).other(agent.pk))
        if other.parent_id == agent.parent_id:
            return other
    wanted, key = set(paths), integration.key(agent)
    merged = (
        Agent.objects.filter(parent_id=agent.parent_id, state=AgentState.DONE).exclude(head="").exclude(pk=agent.pk)
    )
    for sibling in merged.order_by("-ended_at")[:_SIBLINGS]:
        with contextlib.suppress(GridError):
            changed = grid_code.changes(repository=key, base=sibling.base, head=sibling.head)
            if wanted & {file.path for file in changed}:
                return sibling
    if agent.parent_id is None:
        raise ValueError("a root has nobody above it to conflict with")
    return Agent.objects.get(pk=agent.parent_id)


def _policy(agent: Agent) -> str:
    return repositories.effective_policy(repositories.policy_of(agent.repository_id)).conflicts
