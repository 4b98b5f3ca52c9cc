"""How commands show profiles and toolsets: every value beside the place that it comes from."""

from __future__ import annotations

import json
from typing import Any, Literal

from coordinator import public_api
from coordinator.management.base import OK
from coordinator.management.output import Output, cell, table
from coordinator.rules.capability import as_json, in_words

_NESTED = ("limits", "budget", "options")


def show_entries(out: Output, kind: Literal["profile", "toolset"], repository_id: int | None) -> int:
    """All definitions of a kind, a line each."""
    found = public_api.catalogue_entries(kind, repository_id=repository_id)
    out.document({f"{kind}s": found})
    out.lines(
        table(
            [(cell(row.name, "bold"), cell(row.where, "dim"), cell(row.about)) for row in found],
            headers=(kind, "from", "about"),
        )
    )
    return OK


def show_profile(out: Output, name: str, repository_id: int | None) -> int:
    """A materialised profile, and what it grants."""
    found = public_api.profile(name, repository_id=repository_id)
    plain = found.as_json()
    grants = public_api.profile_grants(found)
    out.document({"profile": plain, "grants": as_json(grants)})
    out.line(cell(found.name, "bold"), "  ", cell(f"extends {' -> '.join(found.chain[1:]) or 'nothing'}", "dim"))
    out.lines(table(_rows(plain), headers=("key", "from", "value")), indent=2)
    out.heading("Grants at most, within what its parent holds and its depth leaves")
    out.lines([cell(text) for text in in_words(grants, public_api.fleet_tiers())], indent=2)
    return OK


def _rows(plain: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    values: dict[str, Any] = {}
    for key, value in plain.items():
        if key in _NESTED:
            values |= {f"{key}.{name}": item for name, item in value.items()}
        elif key == "mixins":
            values |= {f"mixins.{name}": options for mixin in value for name, options in mixin.items()}
        elif key not in ("name", "chain", "origin"):
            values[key] = value
    return [(key, cell(plain["origin"].get(key, "-"), "dim"), cell(_short(value))) for key, value in values.items()]


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
