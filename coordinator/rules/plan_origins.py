"""Who set what of a node's requirements: to what a person set agents may add, and they may tighten it, no more. Pure.

Requirements are acceptance commands, required files, footprint and budget. `Agent.spec["set_by"]` names who set each of them, as far
as it was a person; what is not named there was set by an agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.documents import plan_nodes, plan_values
from coordinator.documents.plan_nodes import Node
from coordinator.documents.untrusted import one_line

KEY = "set_by"
LISTS = {"acceptance": "acceptance commands", "files": "required files", "footprint": "footprint"}
_ENTRY, _ACTOR, _NAMED = 80, 60, 5
_AGENT = "agent:"
_ASK = "or ask for it: your parent with send_message, an operator by ending `blocked`"
_MAY_ADD = f"You may add to what a person set, not take from it. Leave it, {_ASK}"
_MAY_LOWER = f"You may give less than a person did, not more. Leave it, {_ASK}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Money that a person gave an agent by hand, beside the plan."""

    usd_micros: int
    by: str
    at: str
    """ISO 8601, UTC."""


def is_person(actor: str) -> bool:
    """Whether an act is a person's: `cli:root`, `admin:ann`; agents are `agent:12`."""
    return not actor.startswith(_AGENT)


def after(held: Mapping[str, Any], old: Node | None, new: Node, *, actor: str, at: str) -> dict[str, Any]:
    """`set_by` of a node once a plan has been carried out on it.

    Args:
        held: What it was; empty for a new node.
        old: The node as it was; None for a new one.
        new: The node as it will be.
        actor: Whose plan it is.
        at: When, ISO 8601 in UTC.
    """
    by_person, found = is_person(actor), dict[str, Any]()
    for name in LISTS:
        before, now = getattr(old, name) if old is not None else (), getattr(new, name)
        known = held.get(name, {})
        marks = {
            entry: known.get(entry, actor) for entry in now if entry in known or (by_person and entry not in before)
        }
        found |= {name: marks} if marks else {}
    money = _money(held.get("budget", {}), old, new, actor=actor, at=at) if by_person else held.get("budget", {})
    return found | ({"budget": money} if money else {})


def _money(held: Mapping[str, Any], old: Node | None, new: Node, *, actor: str, at: str) -> dict[str, Any]:
    before, now = plan_nodes.budget(old) if old is not None else {}, plan_nodes.budget(new)
    changed = {name: {"most": most, "by": actor, "at": at} for name, most in now.items() if before.get(name) != most}
    return {name: mark for name, mark in held.items() if name in now} | changed


def lost(
    held: Mapping[str, Any], new: Node, *, given: Given | None = None, limit: int | None = None
) -> Iterator[tuple[str, str]]:
    """What an agent's plan would take away of what a person set: the key of the entry, and why not.

    Args:
        held: `set_by` of the node.
        new: The node as the plan wants it.
        given: The last money that a person gave it by hand.
        limit: Micro-dollars that the wanted budget comes to; None: it changes no limit.
    """
    for name, words in LISTS.items():
        kept = getattr(new, name)
        gone = [entry for entry in held.get(name, {}) if entry not in kept]
        for entry in gone[:_NAMED]:
            by = _name(held[name][entry])
            yield (
                name,
                f"'{one_line(entry, _ENTRY)}' of the {words} of {new.id} was set by {by}: put it back. {_MAY_ADD}",
            )
        if len(gone) > _NAMED:
            yield name, f"and {len(gone) - _NAMED} more of the {words} of {new.id} that people set"
    yield from _too_much(held.get("budget", {}), new, given=given, limit=limit)


def _too_much(
    held: Mapping[str, Any], new: Node, *, given: Given | None, limit: int | None
) -> Iterator[tuple[str, str]]:
    wish = plan_nodes.budget(new)
    if given is not None and any(mark["at"] >= given.at for mark in held.values()):
        given = None
    elif given is not None:
        held = {}  # the last word of a person counts
    for name, mark in held.items():
        asked = wish.get(name)
        if asked is None or asked > mark["most"]:
            by, said = _name(mark["by"]), _amount(name, mark["most"])
            how = f"asks for {_amount(name, asked)}" if asked is not None else "leaves that out"
            yield "budget", f"{said} of budget for {new.id} was set by {by}, and the plan {how}. {_MAY_LOWER}"
    if given is not None and limit is not None and limit > given.usd_micros:
        said, more = _amount("usd_micros", given.usd_micros), _amount("usd_micros", limit)
        yield "budget", f"{new.id} was given {said} by {_name(given.by)}, and the plan comes to {more}. {_MAY_LOWER}"


def not_for_cancelling(node_id: str, held: Mapping[str, Any]) -> str:
    """Why an agent may not take a node out of the plan, or empty: cancelling it would take away what a person set on it."""
    found = [(LISTS.get(name, name), who) for name in (*LISTS, "budget") if (who := _first(held.get(name, {})))]
    if not found:
        return ""
    words, by = ", ".join(word for word, _ in found), _name(found[0][1])
    return f"{node_id} cannot be taken out by an agent: {by} set its {words}. Put it back, {_ASK}"


def checks(spec: Mapping[str, Any]) -> list[str]:
    """The commands that must exit 0 on an agent's work beside its repository's, what a person set before all else.

    They run one after the other in one checkout: an agent's own command must not make what a person's looks for.
    """
    held = spec.get(KEY, {})
    named = [(command, command in held.get("acceptance", {})) for command in spec.get("acceptance", ())]
    named += [(plan_values.existence_of(path), path in held.get("files", {})) for path in spec.get("files", ())]
    return [command for command, by_person in named if by_person] + [command for command, by in named if not by]


def _first(marks: Mapping[str, Any]) -> str:
    mark = next(iter(marks.values()), "")
    return mark["by"] if isinstance(mark, dict) else str(mark)


def _name(actor: str) -> str:
    return f"a person ({one_line(actor, _ACTOR)})"


def _amount(name: str, value: int) -> str:
    return f"{value} %" if name == "share" else f"${value / 1_000_000:g}"
