"""Tools to look at the plan of what is below an agent, and to change it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from coordinator.documents import plan_schema
from coordinator.operating import plans
from coordinator.operating.plans import Preview
from coordinator.rules import plan_diff
from coordinator.toolbox.context import Call
from coordinator.trees.plan_limits import Reach


def get_plan(call: Call) -> dict[str, Any]:
    """The plan of your issue and all below it as a YAML document, with what may be changed in it; `update_plan` takes it back."""
    made = plans.export(call.agent_id, for_agent=True)
    return {"plan": made.text, "base": made.base, "nodes": made.nodes}


def update_plan(
    call: Call,
    plan: Annotated[
        str, Field(min_length=1, max_length=plan_schema.MAX_BYTES, description="The whole document, edited.")
    ],
    base: Annotated[str, Field(max_length=40, description="As get_plan gave it; empty: as in the document.")] = "",
    preview: bool = False,  # noqa: FBT001, FBT002 - tools are called by name
) -> dict[str, Any]:
    """Make what is below you as this document says: new children, cancelled, moved, changed ones. Your own node stays as it is.

    Take the document that get_plan gives, change it, and hand all of it in. What you leave out is cancelled, with whatever runs
    there. Nothing is done when anything in it is wrong, or when the tree has changed since. The same document again does no harm.
    With `preview` nothing is changed: you see what would be. Commands, files, footprints and money that a person set on a child stay:
    you may add to them, and give less money.
    """
    if base:
        plans.check_base(plan, base)
    if preview:
        return _shown(plans.preview(call.agent_id, plan, reach=_reach(call)), word="would be changed")
    done = plans.apply(call.agent_id, plan, actor=f"agent:{call.agent_id}", reach=_reach(call))
    return _shown(done, word="changed")


def _reach(call: Call) -> Reach:
    held = call.capability
    return Reach(
        agent_id=call.agent_id,
        execution_id=call.caller.execution_id,
        fence=call.caller.fence,
        children=held.children,
        levels=held.depth,
        share=held.share,
    )


def _shown(found: Preview, *, word: str) -> dict[str, Any]:
    if not found.changes:
        known = found.applied_as is not None
        return {
            "changes": [],
            "note": f"nothing to do: applied before, as plan {found.applied_as}" if known else "nothing to do",
        }
    return {
        "changes": [f"{change.kind} {plan_diff.in_words(change)}" for change in found.changes],
        "note": f"{plan_diff.summary(found.changes)}: {word}",
        **({"stopped": found.running + found.queued} if found.running or found.queued else {}),
    }
