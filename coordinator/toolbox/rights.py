"""Tools to ask for more than a capability holds, and to answer a child that does."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from coordinator.models import UpgradeRequest
from coordinator.teamwork import upgrades
from coordinator.teamwork.upgrades import Upgrade
from coordinator.toolbox.context import Call
from grid.public_toolkit import ToolRefusedError

_STRANGER = "none of your children has such a request open; get_children shows those that have"
"""Said of requests that do not exist, of those of others, and of those answered already, alike."""
_Texts = Annotated[list[str], Field(max_length=50)]


def request_upgrade(
    call: Call,
    reason: Annotated[str, Field(min_length=1, max_length=upgrades.MAX_REASON)],
    tier: Annotated[str, Field(max_length=60, description="Name of a tier of models, such as 'large'.")] = "",
    models: _Texts | None = None,
    tools: _Texts | None = None,
    children: Annotated[int, Field(ge=1, le=1_000)] | None = None,
    depth: Annotated[int, Field(ge=1, le=100)] | None = None,
) -> dict[str, Any]:
    """Ask your parent, or the operator, for a stronger model, more tools or more sub-issues. Go on meanwhile, or end `blocked`.

    You never get more than your parent has. `list_toolsets` shows what you hold. What is granted to you counts at once.
    """
    wish = {"tier": tier, "models": models, "tools": tools, "children": children, "depth": depth}
    asked = upgrades.request(
        call.agent_id,
        wish={name: value for name, value in wish.items() if value},
        reason=reason,
        execution_id=call.caller.execution_id,
    )
    return _shown(asked)


def answer_upgrade(
    call: Call,
    request: Annotated[int, Field(ge=1, le=2**53)],
    grant: bool,  # noqa: FBT001 - tools are called by name
    answer: Annotated[str, Field(max_length=1_000)] = "",
) -> dict[str, Any]:
    """Grant or refuse what one of your own children asks for; it gets at most what you hold yourself."""
    open_ones = UpgradeRequest.objects.filter(agent__parent_id=call.agent_id, state=UpgradeRequest.State.OPEN)
    if not open_ones.filter(pk=request).exists():
        raise ToolRefusedError(_STRANGER)
    return _shown(upgrades.answer(request, by=f"agent:{call.agent_id}", is_granted=grant, words=answer))


def open_requests(call: Call) -> dict[int, int]:
    """Open requests of the agent's children, by the child's id."""
    rows = UpgradeRequest.objects.filter(agent__parent_id=call.agent_id, state=UpgradeRequest.State.OPEN)
    return dict(rows.values_list("agent_id", "pk"))


def _shown(row: Upgrade) -> dict[str, Any]:
    return {"request": row.id, "state": row.state, "more": list(row.more), "answer": row.answer}
