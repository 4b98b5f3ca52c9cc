"""Runs in which an agent decides conflicts of its children: their ends move nothing but the conflicts.

The children go on meanwhile, and so does the issue: such a run neither merges nor closes, and what it commits is not used.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from coordinator import lifecycle
from coordinator.contention import conflict_rows
from coordinator.ending import applied
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.public_errors import CoordinatorError
from coordinator.public_types import AgentState, Source
from coordinator.teamwork import conflicts
from grid.public_types import ExecutionView, Mode, State

_ENDS = frozenset({State.SUCCEEDED, State.FAILED, State.TIMED_OUT})
"""Others are tried again or wait for a person, as those of any run."""


def take(agent: Agent, run: ExecutionView) -> bool:
    """Apply the end of a run that was for conflicts of others; False when this was none, nothing was done then.

    Its decisions are taken; of what it was told and did not decide, the default is taken now.
    """
    if run.state not in _ENDS or run.mode != Mode.RESOLVE or "paths" in agent.conflict:
        return False
    outcome = run.result.outcome
    for said in outcome.resolutions if outcome is not None else ():
        try:
            conflicts.decide(
                said["conflict"],
                choice=said["choice"],
                actor=agent.stream,
                order=said["order"],
                reason=said["reason"],
            )
        except CoordinatorError as error:
            body = {"conflict": said["conflict"], "choice": said["choice"], "why": str(error)[:500]}
            with transaction.atomic():
                lifecycle.record(agent, ("conflict.answer-refused", body))
    now = timezone.now()
    for row in conflict_rows.to_decide(agent):
        if row.created_at < run.created_at:
            why = f"agent {agent.pk} has ended its run without a decision"
            conflict_rows.change(row, "conflict.no-arbiter", {"why": why}, default_at=min(now, row.default_at))
    with transaction.atomic():
        if applied.move(agent, run, AgentState.WAITING, "has looked at conflicts between its sub-issues", next_mode=""):
            dispatch.nudge(agent.pk, source=Source.CHILD, reason="it has looked at the conflicts")
    return True
