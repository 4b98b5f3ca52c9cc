"""The tool that ends a run with a report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from coordinator.toolbox.context import Call
from coordinator.toolbox.family import Child
from coordinator.trees import spawning
from grid import public_agents as grid_agents
from grid.public_toolkit import ToolRefusedError


def finish(
    call: Call,
    outcome: Literal["done", "split", "blocked", "nothing_to_do", "failed"],
    summary: Annotated[str, Field(max_length=20_000)] = "",
    children: Annotated[list[Child], Field(max_length=100)] | None = None,
    comment: Annotated[str, Field(max_length=65_536)] = "",
) -> dict[str, Any]:
    """Report how your run ends; then stop working. A later call replaces an earlier one.

    done: the issue is solved and committed. split: it falls into `children`, which become sub-issues. blocked: only a person can
    go on; ask one question in `summary`. nothing_to_do, failed: say why in `summary`.
    """
    asked = [child.model_dump() for child in children or []]
    report = {"outcome": outcome, "summary": summary, "children": asked, "comment": comment}
    if outcome == "split":
        agent = call.agent()
        proposed = grid_agents.read_children(asked)
        why = spawning.complaint(
            agent,
            spawning.unasked(agent, proposed),
            max_children=call.capability.children,
            max_levels=call.capability.depth,
        )
        if why:
            raise ToolRefusedError(why)
    if not grid_agents.report_outcome(call.caller.execution_id, fence=call.caller.fence, report=report):
        raise ToolRefusedError("your run is over: nothing more can be reported in its name")
    return {"reported": outcome, "note": "end your run now"}
