"""What one file of a profile may say. Pure; `grid.toolkit.profiles` makes one profile of a chain of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from grid.toolkit.sources import Strict
from grid.toolkit.tiers import Pattern
from grid.toolkit.toolsets import About, Name, Names

_Text = Annotated[str, StringConstraints(max_length=30_000, pattern=r"^[^\x00]*$")]
_Model = Annotated[str, StringConstraints(pattern=r"^(|scripted|[a-z][a-z0-9_-]{0,39}:[^\s*]{1,160})$")]
_Count = Annotated[int, Field(ge=1, le=10_000_000_000)]
_Small = Annotated[int, Field(ge=0, le=1_000)]
_Mixin = Name | dict[Name, dict[str, JsonValue] | Literal[False] | None]


class _Limits(Strict):
    requests: Annotated[int, Field(ge=1, le=1_000)] | None = None
    tool_calls: Annotated[int, Field(ge=0, le=10_000)] | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    total_tokens: _Count | None = None
    context_tokens: Annotated[int, Field(ge=1_000, le=10_000_000)] | None = None
    wall_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    idle_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    children: _Small | None = None
    depth: _Small | None = None


class _Budget(Strict):
    usd: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    tokens: _Count | None = None
    tool_calls: _Count | None = None
    wall_seconds: _Count | None = None
    executions: _Count | None = None
    children: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Agents below it, at any depth."""


LIMITS, BUDGETS = tuple(_Limits.model_fields), tuple(_Budget.model_fields)
"""Names below `limits` and `budget`."""


class ProfileFile(Strict):
    """What one file of a profile says; whatever it does not say comes from its parent."""

    about: About = ""
    extends: Name | None = None
    """One parent; its own name means the one that it overrides."""
    adapter: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")] = ""
    model: _Model = ""
    fallback_models: Annotated[tuple[_Model, ...], Field(max_length=5, strict=False)] = ()
    models: Annotated[tuple[Pattern, ...], Field(max_length=50, strict=False)] = ()
    tier: Name | None = None
    toolset: Name | None = None
    add_tools: Names = ()
    remove_tools: Names = ()
    talks_to: Names = ()
    mixins: Annotated[tuple[_Mixin, ...], Field(max_length=20, strict=False)] = ()
    instructions: _Text = ""
    prompt: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9_.-]{0,59})?$")] = ""
    limits: _Limits = _Limits()
    budget: _Budget = _Budget()
    budget_share: Annotated[int, Field(ge=1, le=100)] | None = None
    sandbox: Literal["", "auto", "process", "bwrap", "docker"] = ""
    options: dict[str, JsonValue] = Field(default_factory=dict)
