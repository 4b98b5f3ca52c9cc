"""What a run left is taken: looked at, put on the agent's branch, merged into its parent's or published. Git outside transactions.

Whatever keeps it from that is answered here: the end is applied later, the agent moved otherwise, or a person asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from coordinator import lifecycle
from coordinator.agents import integration, stops
from coordinator.agents.integration import Integrated
from coordinator.ending import reviewing, setbacks
from coordinator.models import Agent
from coordinator.public_errors import ClosingWordsError, PathsLockedError, StaleWriteError, StoppedError
from coordinator.public_types import AgentState
from grid.public_errors import GridError, MergeConflictError, SourceUnavailableError
from grid.public_types import ExecutionView

log = logging.getLogger(__name__)
_AT_ONCE = timedelta(hours=1)
"""So long ago that no sweep leaves the row alone for having been touched just now."""


def brought_together(agent: Agent, run: ExecutionView) -> Integrated | None:
    """Its work merged and published; None when that could not be done, and the agent was moved otherwise or waits."""
    if agent.parent_id is not None and setbacks.park(agent, run, for_merge=True):
        return None
    return _taken(agent, run, reviewing.bring_together)


def kept(agent: Agent, run: ExecutionView) -> str | None:
    """The run's work on the agent's own branch; None when that could not be done, and the agent was moved otherwise or waits."""
    done = _taken(agent, run, _keep)
    return done.head if done is not None else None


def once_more(agent: Agent, *, by: str) -> bool:
    """Have the next sweep take finished work that could not be integrated, in the caller's transaction; False when there is none."""
    if agent.state != AgentState.BLOCKED or not agent.is_applied or not setbacks.is_set_aside(agent):
        return False
    fields = {"is_applied": False, "blocked_reason": ""}
    if not lifecycle.move(agent, new=AgentState.QUEUED, reason=f"{by} has its finished work taken", fields=fields):
        return False
    Agent.objects.filter(pk=agent.pk).update(updated_at=timezone.now() - _AT_ONCE)
    return True


def _keep(agent: Agent, run: ExecutionView) -> Integrated:
    head = run.result.head
    try:
        return Integrated(head=integration.keep(agent, head))
    except MergeConflictError as error:
        return Integrated(head=head, conflict=error.paths, against=integration.branch_head(agent))


def _taken(agent: Agent, run: ExecutionView, bring: Callable[[Agent, ExecutionView], Integrated]) -> Integrated | None:
    is_accepted = False
    try:
        # What stands on a branch once is not looked at again: so it is looked at before it comes to any.
        reviewing.check(agent, run)
        is_accepted = True
        done = bring(agent, run)
        stops.check(agent)  # the move that follows is one more effect, and git may have taken its time
    except StoppedError as error:
        log.info("not applied now", extra={"action": "apply", "agent": agent.pk, "why": str(error)})
        return None
    except (SourceUnavailableError, PathsLockedError) as error:
        setbacks.later(agent, error)
        return None
    except (ClosingWordsError, StaleWriteError, GridError) as error:
        setbacks.refuse(agent, run, error, is_accepted=is_accepted)
        return None
    if done.conflict:
        setbacks.conflict(agent, run, done)
        return None
    return done
