"""Every limit that can be configured, and the gate that reads it: one that nobody reads must not look as if it held.

`manage.py check` compares this table with what the settings, policy files and profiles take, and looks into each gate's code
whether it still names its limit; `web` and the workers refuse to start when that fails.
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.util
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from coordinator.conf import CoordinatorConf
from coordinator.documents.policy_schema import LIMIT_NAMES
from grid.public_toolkit import PROFILE_BUDGETS, PROFILE_LIMITS, TIER_LIMITS

_TREE, _FLEET, _FLEETS_DAY = (
    "coordinator.agents.roster:_tree_envelope",
    "coordinator.care.repositories:fleet_limits",
    "coordinator.care.days:_fleet",
)
_RUN, _CAPS, _REPOSITORYS_DAY = (
    "coordinator.documents.policy:EffectivePolicy",
    "coordinator.care.repositories:cap_tree",
    "coordinator.care.days:_repository",
)
_BUILTIN, _PROFILE, _CAPABILITY = (
    "grid.agents.builtin.loop",
    "coordinator.care.profiles:_limits",
    "coordinator.rules.capability:of_profile",
)
_PROGRAM = "grid.agents.builtin."
_GATEWAY = "coordinator.gateway.admission:_too_many"
_CARVE = "coordinator.rules.budget_rules:DIMENSIONS"

GATES: Mapping[str, str] = {
    # Settings, by their names in `CoordinatorConf`.
    "setting max_live": "coordinator.agents.roster:fleet_envelope",
    "setting max_live_per_repository": "coordinator.agents.roster:repository_envelope",
    "setting max_live_per_tree": _TREE,
    "setting max_depth": _FLEET,
    "setting max_children": _FLEET,
    "setting max_open_descendants": _FLEET,
    "setting max_attempts": _FLEET,
    "setting tree_executions": _TREE,
    "setting tree_wall_seconds": _TREE,
    "setting tree_usd_micros": _TREE,
    "setting tree_tokens": _TREE,
    "setting tree_tool_calls": _TREE,
    "setting tree_children": _TREE,
    "setting raise_factor": "coordinator.agents.raising:most",
    "setting tool_calls": _FLEET,
    "setting spend_without_progress_micros": _TREE,
    "setting day_usd_micros": _FLEETS_DAY,
    "setting day_tokens": _FLEETS_DAY,
    "setting day_executions": _FLEETS_DAY,
    "setting repository_day_usd_micros": _REPOSITORYS_DAY,
    "setting repository_day_tokens": _FLEET,
    "setting repository_day_executions": _FLEET,
    "setting conflict_seconds": "coordinator.contention.conflict_rows",
    "setting conflict_grace_seconds": "coordinator.teamwork.conflicts",
    # Limits of .agentgrid.yml.
    "policy wall_seconds": _RUN,
    "policy idle_seconds": _RUN,
    "policy verify_wall_seconds": _RUN,
    "policy memory_bytes": _RUN,
    "policy processes": _RUN,
    "policy attempts": "coordinator.ending.setbacks:fail",
    "policy children": "coordinator.trees.spawning:complaint",
    "policy depth": "coordinator.trees.spawning:complaint",
    "policy open_descendants": "coordinator.trees.spawning:complaint",
    "policy concurrency": "coordinator.care.repositories:refresh",
    "policy tree_concurrency": _CAPS,
    "policy tree_executions": _CAPS,
    "policy tree_wall_seconds": _CAPS,
    "policy tool_calls": _RUN,
    "policy tree_tool_calls": _CAPS,
    "policy tree_usd": _CAPS,
    "policy tree_tokens": _CAPS,
    "policy tree_children": _CAPS,
    "policy spend_without_progress_usd": _CAPS,
    "policy day_usd": _REPOSITORYS_DAY,
    "policy day_tokens": _REPOSITORYS_DAY,
    "policy day_executions": _REPOSITORYS_DAY,
    "policy conflict_seconds": "coordinator.teamwork.conflicts",
    # `limits` and `budget` of profiles.
    "profile requests": f"{_BUILTIN}:_limits",
    "profile tool_calls": _PROFILE,
    "profile input_tokens": f"{_BUILTIN}:_limits",
    "profile output_tokens": f"{_BUILTIN}:_limits",
    "profile total_tokens": f"{_BUILTIN}:_limits",
    "profile context_tokens": _BUILTIN,
    "profile wall_seconds": _PROFILE,
    "profile idle_seconds": _PROFILE,
    "profile children": _CAPABILITY,
    "profile depth": _CAPABILITY,
    "budget usd": _CARVE,
    "budget tokens": _CARVE,
    "budget tool_calls": _CARVE,
    "budget wall_seconds": _CARVE,
    "budget executions": _CARVE,
    "budget children": _CARVE,
    # Of tiers.
    "tier in_flight": _GATEWAY,
    "tier per_minute": _GATEWAY,
}
"""`module` or `module:name` of who reads each limit."""


def configurable() -> Iterator[str]:
    """Every limit that somebody can configure, as `GATES` names it."""
    for field in dataclasses.fields(CoordinatorConf):
        if str(field.type) in ("int", "int | None"):
            yield f"setting {field.name}"
    yield from (f"policy {name}" for name in LIMIT_NAMES)
    yield from (f"profile {name}" for name in PROFILE_LIMITS)
    yield from (f"budget {name}" for name in PROFILE_BUDGETS)
    yield from (f"tier {name}" for name in TIER_LIMITS)


def problems(configured: Iterable[str], gates: Mapping[str, str] = GATES) -> list[str]:
    """What is wrong with the table: limits without a gate, gates that are gone or read something else."""
    names = set(configured)
    found = [
        f"the limit '{name}' is configured and read by nobody; give it a gate" for name in sorted(names - set(gates))
    ]
    found += [f"the limit '{name}' has a gate and cannot be configured" for name in sorted(set(gates) - names)]
    for name in sorted(names & set(gates)):
        said = _said(gates[name])
        if said is None:
            found.append(f"the gate of the limit '{name}' is gone: {gates[name]}")
        elif not said & {(what := name.partition(" ")[2]), f"{what}_micros"}:
            found.append(f"the limit '{name}' is not read by its gate {gates[name]}")
    return found


def check(app_configs: Any = None, **_: Any) -> list[checks.CheckMessage]:
    """The table as a check of Django's."""
    hint = "coordinator/care/limits.py lists every limit with the gate that reads it"
    return [checks.Error(words, hint=hint, id="coordinator.E001") for words in problems(configurable())]


def require() -> None:
    """Refuse to start. Raises ImproperlyConfigured."""
    found = problems(configurable())
    if found:
        raise ImproperlyConfigured("; ".join(found))


def _said(gate: str) -> set[str] | None:
    """The names and texts in the code of a gate; None when there is no such thing."""
    module_name, _, name = gate.partition(":")
    try:
        if module_name.startswith(_PROGRAM):
            return set(_words(_compiled(module_name, name)))
        module = importlib.import_module(module_name)
        return set(_words(getattr(module, name) if name else module))
    except (ImportError, AttributeError):
        return None


def _compiled(module_name: str, name: str) -> types.CodeType:
    """The code of a module, or of a function in it, which is not loaded: it belongs to a program of its own, and is large.

    Raises:
        AttributeError: There is no such module or function.
    """
    found = importlib.util.find_spec(module_name)
    if found is None or not isinstance(found.loader, importlib.abc.InspectLoader):
        raise AttributeError(module_name)
    code = found.loader.get_code(module_name)
    if code is not None and name:
        code = next((one for one in code.co_consts if isinstance(one, types.CodeType) and one.co_name == name), None)
    if code is None:
        raise AttributeError(name)
    return code


def _words(part: Any) -> Iterator[str]:
    """Not of the source, which may be another one by now than what was loaded."""
    if isinstance(part, str):
        yield part
    for item in _parts(part):
        yield from _words(item)


def _parts(part: Any) -> Iterable[Any]:
    match part:
        case types.CodeType():
            return [*part.co_names, *part.co_consts]
        case types.FunctionType():
            return [part.__code__]
        case property():
            return [part.fget]
        case tuple() | Mapping():
            return part
        case type() | types.ModuleType():
            home = part.__name__ if isinstance(part, types.ModuleType) else part.__module__
            functions = (item for item in vars(part).values() if isinstance(item, property | types.FunctionType))
            return [item for item in functions if isinstance(item, property) or item.__module__ == home]
    return ()
