"""How many tools a run has called, each call once, and an end for a run that calls too many.

An agent's own calls are told in its output, those of the grid's tools by the grid's door as well; there alone they count.
"""

from __future__ import annotations

import re
from uuid import UUID

from grid import event_log, executions
from grid.models import Event, Execution
from grid.models.executions import stream_of
from grid.public_types import ON_HOST, State
from grid.statements.prepared import Prepared, given
from grid.toolkit.names import GRID_TOOLS

REQUESTED, DOOR = "tool.requested", "grid"
_CALLS = Prepared(
    lambda: (
        Event.objects.filter(stream=given("stream"), kind=REQUESTED).order_by().values_list("body__name", "body__door")
    )
)
_OURS = re.compile(rf"(?:.*(?:^|[^A-Za-z0-9])grid[^A-Za-z0-9]+)?(?:{'|'.join(sorted(GRID_TOOLS))})")
"""What agents call our tools: `nudge`, `mcp__grid__nudge`, `grid_nudge`, `grid.nudge`."""


def is_own(name: object) -> bool:
    """Whether a call that an agent tells of is none of the grid's tools, which the door counts."""
    return not (isinstance(name, str) and _OURS.fullmatch(name[:200]))


def used(execution_id: UUID) -> int:
    """Calls so far; one query over the run's events."""
    return sum(door == DOOR or is_own(name) for name, door in _CALLS.rows(stream=stream_of(execution_id)))


def is_over(execution_id: UUID) -> bool:
    """Whether a run has made more calls than it may; it is asked to stop then, and its work is kept."""
    cap = allowed(execution_id)
    return cap is not None and used(execution_id) > cap and _stop(execution_id)


def look(execution_id: UUID, *, own: int, cap: int | None) -> bool:
    """The same for a host that has counted the agent's own calls while it stored them."""
    if cap is None or own + event_log.count(stream_of(execution_id), kind=REQUESTED, door=DOOR) <= cap:
        return False
    return _stop(execution_id)


def allowed(execution_id: UUID) -> int | None:
    """Calls that a run may make; None: any number."""
    spec = Execution.objects.filter(pk=execution_id).values_list("spec__limits__tool_calls", flat=True).first()
    return spec if isinstance(spec, int) else None


def _stop(execution_id: UUID) -> bool:
    if Execution.objects.filter(pk=execution_id, state__in=sorted(ON_HOST), stop_reason="").exists():
        executions.request_stop([execution_id], reason=str(State.OVER_BUDGET))
    return True
