"""Profiles: prototypes of agents that extend each other, made into one frozen result that knows where each value is from. Pure.

    about: Changes code and checks it.
    extends: base
    model: anthropic:claude-sonnet-4-5
    toolset: worker
    mixins: [trace, {budget: {tool_calls: 150}}]
    limits: {requests: 60}

From the parent to the child: single values and lists replace, `limits`, `budget` and `options` merge by key, `mixins` add to
the parent's (one of the same name replaces it, `{name: false}` takes it away).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from grid.toolkit import mixins, names, toolsets
from grid.toolkit.errors import DefinitionError
from grid.toolkit.profile_file import ProfileFile
from grid.toolkit.sources import Definition, Strict
from grid.toolkit.tiers import Tiers

_WHOLE = (
    "adapter",
    "model",
    "fallback_models",
    "models",
    "tier",
    "toolset",
    "add_tools",
    "remove_tools",
    "talks_to",
    "instructions",
    "prompt",
    "budget_share",
    "sandbox",
)
"""Keys whose value the child's replaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenProfile:
    """A profile with everything that it inherits; nothing changes it any more."""

    name: str
    chain: tuple[str, ...]
    """From itself to its oldest ancestor."""
    adapter: str = ""
    """Empty, like `model`: the repository or the issue says which."""
    model: str = ""
    """`provider:name`, or `scripted`."""
    fallback_models: tuple[str, ...] = ()
    """Asked in this order when the one before is overloaded or out of reach."""
    models: tuple[str, ...] = ()
    """Patterns that models must fit beside the tier; empty: any."""
    tier: str = ""
    """Empty: the highest."""
    tools: tuple[str, ...] | None = None
    """Local tools; None: all."""
    grid_tools: tuple[str, ...] = ()
    talks_to: tuple[str, ...] = ()
    """Profiles whose agents it may write to, beside its parent and children, within its tree; they may answer."""
    mixins: tuple[Mapping[str, Mapping[str, Any]], ...] = ()
    """One key each: name and options, the first outermost."""
    instructions: str = ""
    prompt: str = ""
    """Template of the prompt library."""
    limits: Mapping[str, int] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)
    """Of one agent and all below it: `usd_micros` (millionths of a US dollar), `tokens`, `tool_calls`, `wall_seconds`,
    `executions`, `children`."""
    budget_share: int | None = None
    """Percent of its parent's budget that it may get."""
    sandbox: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the adapter; the agent's own come before them."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Where each value is from: `limits.requests` -> `worker (shipped/profiles/worker.yml:9)`."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; what is empty is left out, and so is `tools` when all are meant."""
        value = asdict(self)
        value |= {key: list(item) for key, item in value.items() if isinstance(item, tuple)}
        kept = ("name", "chain", "origin")
        empty: tuple[Any, ...] = ("", None, [], {})
        return {
            key: item
            for key, item in value.items()
            if key in kept or item not in empty or (key == "tools" and item is not None)
        }

    @classmethod
    def from_json(cls, value: object) -> FrozenProfile:
        """What `as_json` wrote. Raises DefinitionError for anything else."""
        try:
            return _FROZEN.validate_python(value)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, item["loc"])) or "all" for item in error.errors()[:5])
            raise DefinitionError(f"this is no stored profile: look at {places}") from error


type ProfileDefinition = Definition[ProfileFile]
type Find = Callable[[str, ProfileDefinition | None], ProfileDefinition]
"""The definition of a name, as the one that names it sees it; raises DefinitionError."""


def chain_of(name: str, find: Find) -> list[ProfileDefinition]:
    """A profile and its ancestors, the oldest first. Raises DefinitionError for an unknown parent or a circle."""
    chain = [find(name, None)]
    while chain[-1].said.extends:
        last = chain[-1]
        parent = find(last.said.extends or "", last)
        if any((known.name, known.level) == (parent.name, parent.level) for known in chain):
            raise toolsets.circle(last, [known.name for known in chain], parent.name)
        if len(chain) > toolsets.MAX_DEPTH:
            raise last.error(f"extends: more than {toolsets.MAX_DEPTH} ancestors; make it flatter", "extends")
        chain.append(parent)
    return chain[::-1]


def materialise(
    chain: list[ProfileDefinition], *, tools_of: Callable[[str], tuple[str, ...]], tiers: Tiers
) -> FrozenProfile:
    """One frozen profile of a chain.

    Args:
        chain: From `chain_of`.
        tools_of: The tools of a toolset; raises DefinitionError for an unknown one.
        tiers: The table that `tier` and the models are checked with.

    Raises:
        DefinitionError: An unknown toolset, tool, tier or mixin, or a model above the tier; names file, line and fix.
    """
    merged = _Merged()
    for definition in chain:
        merged.take(definition)
    leaf = chain[-1]
    tools, grid_tools = _tools(merged, tools_of)
    _check_models(merged, tiers, leaf)
    said = merged.values
    return FrozenProfile(
        name=leaf.name,
        chain=tuple(dict.fromkeys(definition.name for definition in reversed(chain))),
        adapter=said.get("adapter", ""),
        model=said.get("model", ""),
        fallback_models=said.get("fallback_models", ()),
        models=said.get("models", ()),
        tier=said.get("tier") or "",
        tools=tools,
        grid_tools=grid_tools,
        talks_to=said.get("talks_to", ()),
        mixins=tuple({name: options} for name, options in merged.mixins.items()),
        instructions=said.get("instructions", ""),
        prompt=said.get("prompt", ""),
        limits=merged.maps["limits"],
        budget=_in_micros(merged.maps["budget"]),
        budget_share=said.get("budget_share"),
        sandbox=said.get("sandbox", ""),
        options=merged.maps["options"],
        origin=merged.origin,
    )


class _Merged:
    """What a chain says so far."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.maps: dict[str, dict[str, Any]] = {"limits": {}, "budget": {}, "options": {}}
        self.mixins: dict[str, dict[str, Any]] = {}
        self.origin: dict[str, str] = {}
        self.by: dict[str, ProfileDefinition] = {}
        """Who said a single value."""

    def take(self, definition: ProfileDefinition) -> None:
        """Put a child's words over those of its ancestors."""
        said = definition.said
        for key in said.model_fields_set.intersection(_WHOLE):
            self.values[key], self.by[key] = getattr(said, key), definition
            self.origin[key] = _origin(definition, key)
        for key, known in self.maps.items():
            for name, value in _entries(getattr(said, key)).items():
                known[name] = value
                self.origin[f"{key}.{'usd_micros' if name == 'usd' else name}"] = _origin(definition, key, name)
        for index, entry in enumerate(said.mixins):
            for name, options in {entry: None}.items() if isinstance(entry, str) else entry.items():
                self._mixin(definition, index, name, options)

    def _mixin(self, definition: ProfileDefinition, index: int, name: str, options: Any) -> None:
        if options is False:
            if self.mixins.pop(name, None) is None:
                raise definition.error(
                    f"mixins: '{name}' is not there to be taken away; {names.hint(name, self.mixins)}", "mixins", index
                )
            del self.origin[f"mixins.{name}"]
            return
        try:
            self.mixins[name] = mixins.check(name, options or {})
        except DefinitionError as error:
            raise definition.error(f"mixins: {error}", "mixins", index) from error
        self.origin[f"mixins.{name}"] = _origin(definition, "mixins", index)


def _entries(part: Any) -> Mapping[str, Any]:
    """The keys that a mapping of a profile says."""
    return part.model_dump(exclude_none=True) if isinstance(part, Strict) else part


def _origin(definition: ProfileDefinition, *path: str | int) -> str:
    return f"{definition.name} ({definition.place(*path)})"


def _tools(
    merged: _Merged, tools_of: Callable[[str], tuple[str, ...]]
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Local tools (None: all) and grid tools."""
    said = merged.values
    for key in ("add_tools", "remove_tools"):
        if key in merged.by:
            toolsets.check_tools(merged.by[key], key, said[key])
    toolset = said.get("toolset")
    if not (toolset or said.get("add_tools") or said.get("remove_tools")):
        return None, ()
    try:
        base = set(tools_of(toolset) if toolset else names.LOCAL_TOOLS)
    except DefinitionError as error:
        raise merged.by["toolset"].error(f"toolset: {error}", "toolset") from error
    local, grid = names.split((base | set(said.get("add_tools", ()))) - set(said.get("remove_tools", ())))
    key = "toolset" if toolset else "add_tools" if said.get("add_tools") else "remove_tools"
    merged.origin |= {"tools": merged.origin[key], "grid_tools": merged.origin[key]}
    # The report is no ability that could be taken away: each agent ends by one.
    return (local if "finish" in local else (*local, "finish")), grid


def _check_models(merged: _Merged, tiers: Tiers, leaf: ProfileDefinition) -> None:
    """Refuse models that the profile's own tier would never let it use."""
    tier = merged.values.get("tier")
    if not tier:
        return
    try:
        rank = tiers.rank(tier)
    except DefinitionError as error:
        raise merged.by["tier"].error(f"tier: {error}", "tier") from error
    for key in ("model", "fallback_models"):
        value = merged.values.get(key, ())
        for model in (value,) if isinstance(value, str) else value:
            known = tiers.rank_of(model) if model else None
            if known is not None and known > rank:
                higher = next(other.name for other in tiers.all if other.rank == known)
                raise merged.by.get(key, leaf).error(
                    f"{key}: '{model}' is of the tier '{higher}', above '{tier}'; choose another or set tier: {higher}",
                    key,
                )


def _in_micros(budget: Mapping[str, Any]) -> dict[str, int]:
    """The budget with money in millionths."""
    found = {key: value for key, value in budget.items() if key != "usd"}
    return {"usd_micros": round(budget["usd"] * 1_000_000), **found} if "usd" in budget else found


_FROZEN: TypeAdapter[FrozenProfile] = TypeAdapter(FrozenProfile)
