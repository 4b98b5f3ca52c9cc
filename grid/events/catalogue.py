"""Every kind of event: what it means, on which streams it is, what its body holds, which tables its rows are of.

A kind has one version; a change that readers would stumble over gets the next one, and the writer says so (`v`). Bodies
are checked against their schemas where `EVENTS_ARE_CHECKED` is set, as in our tests, and by `manage.py events verify`.
In production nothing is refused: an event that breaks its schema is a fact all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

MAX_COMPLAINT = 300
WHERE = "grid/events/kinds.py for the grid's own, coordinator/event_kinds.py for the coordinator's"


class Maybe:
    """Marks a part of a body that may be left out: `Maybe(int)`."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


@dataclass(frozen=True)
class Kind:
    """One kind of event."""

    name: str
    stream: str
    """What it is on: `execution`, `agent`, or another word before the colon of the stream's name; several with `, `."""
    meaning: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Names of the body's parts with their types; what may be left out as `Maybe(type)`."""
    tables: Sequence[str] = ()
    """State tables whose rows it may carry."""
    is_open: bool = False
    """The body may hold more: what an agent's program said, as it said it."""
    v: int = 1

    @cached_property
    def schema(self) -> type[BaseModel]:
        """The body's schema."""
        parts: dict[str, Any] = {
            name: (kind.kind, None) if isinstance(kind, Maybe) else (kind, ...) for name, kind in self.parts.items()
        }
        config = ConfigDict(extra="allow" if self.is_open else "forbid", strict=True, protected_namespaces=())
        name = "".join(word.title() for word in self.name.replace(".", "-").split("-"))
        return create_model(name, __config__=config, **{_safe(part): spec for part, spec in parts.items()})

    def complaint(self, body: Mapping[str, Any]) -> str:
        """What is wrong with a body; empty when nothing is."""
        try:
            self.schema.model_validate({_safe(name): value for name, value in body.items()})
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)[:MAX_COMPLAINT]
        return ""


KINDS: dict[str, Kind] = {}
TWICE: set[str] = set()
"""Names of kinds that were registered in two ways: a mistake, which a test finds; nothing is to stop for it."""


def register(*kinds: Kind) -> None:
    """Add kinds to the catalogue; again is harmless. Of two with one name that differ the later counts, see `TWICE`."""
    for kind in kinds:
        if KINDS.setdefault(kind.name, kind) != kind:
            TWICE.add(kind.name)
            KINDS[kind.name] = kind


def as_markdown() -> list[str]:
    """The catalogue as the lines of a table for docs/events.md."""
    rows = ["| kind | on the stream of | what it says | body | rows of |", "|---|---|---|---|---|"]
    for kind in sorted(KINDS.values(), key=lambda one: one.name):
        parts = [f"`{name}`{'?' if isinstance(part, Maybe) else ''}" for name, part in kind.parts.items()]
        body = ", ".join([*parts, *(["…"] if kind.is_open else [])])
        tables = ", ".join(table.partition("_")[2] for table in kind.tables)
        rows.append(f"| `{kind.name}` | {kind.stream} | {kind.meaning} | {body} | {tables} |")
    return rows


def complaint(
    *, stream: str, kind: str, body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None, v: int = 1
) -> str:
    """What is wrong with an event; empty when nothing is."""
    known = KINDS.get(kind)
    if known is None:
        return f"the kind {kind[:40]!r} is not in the catalogue: {WHERE}"
    if v != known.v:
        return f"{kind} has version {v}, the catalogue knows {known.v}"
    if stream.partition(":")[0] not in known.stream.split(", "):
        return f"{kind} is on the stream {stream[:64]}, and belongs on: {known.stream}"
    for row in rows or ():
        why = _row_complaint(row, known)
        if why:
            return f"{kind} carries a row that is none: {why}"
    why = known.complaint(body)
    return f"the body of {kind}: {why}" if why else ""


def _row_complaint(row: Any, kind: Kind) -> str:
    if not isinstance(row, Mapping) or not isinstance(row.get("table"), str) or "id" not in row:
        return "it names no table and id"
    if row["table"] not in kind.tables:
        return f"{row['table']} is none of its tables ({', '.join(kind.tables) or 'it has none'})"
    if row.get("gone") is not True and not isinstance(row.get("set"), Mapping):
        return "it neither sets columns nor is gone"
    return ""


def _safe(name: str) -> str:
    """Names that pydantic keeps for itself, or Python does not allow."""
    return f"part_{name}" if name.startswith("_") or hasattr(BaseModel, name) else name
