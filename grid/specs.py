"""Launch specs and results as plain JSON and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from grid.public_types import (
    AgentSpec,
    Check,
    ChildProposal,
    LaunchSpec,
    Limits,
    Mode,
    Outcome,
    OutcomeKind,
    Result,
    Work,
)


def dump_spec(spec: LaunchSpec) -> dict[str, Any]:
    """Plain JSON of a spec without its prompt, which has a column of its own."""
    data = asdict(spec)
    del data["prompt"]
    return data


def load_spec(data: Mapping[str, Any], prompt: str) -> LaunchSpec:
    """Rebuild what `dump_spec` wrote."""
    return LaunchSpec(
        **{
            **data,
            "mode": Mode(data["mode"]),
            "agent": AgentSpec(**data["agent"]),
            "work": Work(**data["work"]),
            "limits": Limits(**data["limits"]),
            "verify_limits": Limits(**data["verify_limits"]),
            "setup": tuple(data["setup"]),
            "acceptance": tuple(data["acceptance"]),
            "prompt": prompt,
        }
    )


def dump_outcome(outcome: Outcome) -> dict[str, Any]:
    """Plain JSON of an outcome."""
    return asdict(outcome)


def load_outcome(data: Mapping[str, Any]) -> Outcome:
    """Rebuild what `dump_outcome` wrote."""
    children = tuple(
        ChildProposal(
            **{
                **child,
                "blocked_by": tuple(child["blocked_by"]),
                "acceptance": tuple(child["acceptance"]),
                "footprint": tuple(child.get("footprint", ())),
            }
        )
        for child in data["children"]
    )
    resolutions = tuple(data.get("resolutions", ()))
    return Outcome(**{**data, "kind": OutcomeKind(data["kind"]), "children": children, "resolutions": resolutions})


def dump_result(result: Result) -> dict[str, Any]:
    """Plain JSON of a result."""
    return asdict(result)


def load_result(data: Mapping[str, Any] | None) -> Result:
    """Rebuild what `dump_result` wrote; an empty result for None."""
    if not data:
        return Result()
    return Result(
        **{
            **data,
            "outcome": load_outcome(data["outcome"]) if data["outcome"] else None,
            "checks": tuple(Check(**check) for check in data["checks"]),
        }
    )
