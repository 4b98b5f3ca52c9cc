"""Look for what is wrong with a log: torn, with gaps or doubles, with events that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from grid.events import catalogue, lines
from grid.events.tables import REGISTER

type Found = tuple[str, str]
"""Code and words of what is wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a log."""

    line: int
    """Of the file, from 1; of a database: the event's id."""
    code: str
    """`torn`, `cut-off`, `no-json`, `chain`, `header`, `order`, `duplicate`, `gap`, `root`, `unknown-kind`, `body`, `row`."""
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(slots=True)
class Checker:
    """Looks at events one after the other."""

    root: str = ""
    """What every event's root must be; empty: any, but one for each stream."""
    last_id: int = 0
    events: int = 0
    _streams: dict[str, tuple[int, str]] = field(default_factory=dict)

    def look(self, event: dict[str, Any]) -> Iterator[Found]:
        """Code and words of everything wrong with the next event."""
        why = _shape(event)
        if why:
            yield "shape", why
            return
        stream, seq, root = event["stream"], event["seq"], event["root"]
        if event["id"] <= self.last_id:
            code = "duplicate" if event["id"] == self.last_id else "order"
            yield code, f"event {event['id']} comes after event {self.last_id}"
        self.last_id = max(self.last_id, event["id"])
        before, its_root = self._streams.get(stream, (0, root))
        if seq > before + 1:
            missing = f"{before + 1}" if seq == before + 2 else f"{before + 1} to {seq - 1}"
            yield "gap", f"{stream} has no number {missing} (event {event['id']} is {seq})"
        elif seq <= before:
            yield "duplicate", f"{stream} has the number {seq} twice, or too late (its last one was {before})"
        if self.root and root != self.root:
            yield "root", f"event {event['id']} is of {root[:200]}, and this is the log of {self.root}"
        elif root != its_root:
            yield "root", f"{stream} was of {its_root[:200]}, and event {event['id']} is of {root[:200]}"
        self._streams[stream] = (max(seq, before), its_root)
        yield from _content(event)
        self.events += 1


def verify(file: IO[bytes]) -> Iterator[Problem]:
    """Everything that is wrong with an exported file, with its lines; nothing for a good one."""
    for number, _, problem in read(file):
        if problem is not None:
            yield Problem(number, *problem)


def database(events: Iterable[dict[str, Any]]) -> Iterator[Problem]:
    """The same for events as they are in the database, whose ids stand for lines."""
    checker = Checker()
    for event in events:
        for code, text in checker.look(event):
            yield Problem(event["id"], code, text)


def read(file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any], Found | None]]:
    """The lines of a file with their numbers, and with each what is wrong with it; None for nothing.

    A line with several faults comes several times, after the first time without its value.
    """
    reader, number = _Reader(), 0
    while line := file.readline(lines.MAX_LINE_BYTES + 1):
        number += 1
        was_broken, sha256 = reader.chain.is_broken, reader.chain.sha256
        try:
            value = lines.read(line, reader.chain)
        except lines.BrokenLineError as error:
            yield number, {}, (error.code, str(error))
            if error.code in ("torn", "too-long"):
                return
            reader.chain.is_broken = True  # of the line that is no line nobody knows the link
            continue
        found = list(reader.take(value, sha256=sha256))
        if reader.chain.is_broken and not was_broken:  # said once; what follows is looked at by itself
            found.insert(0, ("chain", "this line is not the one that was written after those before it"))
        yield number, value, found[0] if found else None
        for problem in found[1:]:
            yield number, {}, problem
    if not reader.is_ended:
        what = f"the file ends after event {reader.checker.last_id}, without its last line"
        yield number + 1, {}, ("cut-off", what if number else "the file is empty")


@dataclass(slots=True)
class _Reader:
    """What a file has said so far."""

    chain: lines.Chain = field(default_factory=lines.Chain)
    checker: Checker = field(default_factory=Checker)
    base: int = 0
    is_started: bool = False
    is_ended: bool = False

    def take(self, value: dict[str, Any], *, sha256: str) -> Iterator[Found]:
        """Take in a line, and say what is wrong with it; `sha256` is that of all lines before it."""
        if self.is_ended:
            yield "order", "there is more after the last line"
        elif not self.is_started:
            self.is_started = True
            self.checker.root, problem = _begin(value)
            yield from [problem] if problem else []
        elif "base" in value:
            self.base += 1
            row = value["base"]
            if not _is_row(row) or "set" not in row:
                yield "row", "the row names no table, id and columns"
            elif row["table"] not in REGISTER.base:
                yield "row", f"no row of {row['table'][:80]!r} belongs here"
        elif "end" in value:
            self.is_ended = True
            problem = _end(value["end"], self.checker, base=self.base, sha256="" if self.chain.is_broken else sha256)
            yield from [problem] if problem else []
        else:
            yield from self.checker.look(value)


def _begin(value: dict[str, Any]) -> tuple[str, Found | None]:
    root = value.get("root")
    if value.get("format") != lines.FORMAT or not isinstance(root, str):
        return "", ("header", f"this is no log of agent-grid: its first line names no format {lines.FORMAT!r}")
    if value.get("version") != lines.VERSION:
        return root, (
            "header",
            f"the format has version {str(value.get('version'))[:40]}; this program reads {lines.VERSION}",
        )
    return root, None


def _end(value: Any, checker: Checker, *, base: int, sha256: str) -> Found | None:
    said = value if isinstance(value, dict) else {}
    if said.get("events") != checker.events or said.get("base") != base:
        return "cut-off", (
            f"the last line counts {str(said.get('events'))[:40]} events and {str(said.get('base'))[:40]} rows; "
            f"there are {checker.events} and {base}"
        )
    if sha256 and said.get("sha256") != sha256:
        return "chain", "the last line has another hash than the lines before it"
    return None


def _shape(event: dict[str, Any]) -> str:
    """Whether the line is an event at all."""
    for name, kind in (("id", int), ("stream", str), ("seq", int), ("root", str), ("kind", str), ("v", int)):
        if type(event.get(name)) is not kind:
            return f"the line is no event: {name} is {str(event.get(name))[:40]!r}"
    if not isinstance(event.get("body"), dict):
        return f"event {event['id']} has no body"
    if not isinstance(event.get("rows", []), list):
        return f"event {event['id']} has rows that are no list"
    try:
        at = datetime.fromisoformat(event.get("at", ""))
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        return f"event {event['id']} has no time with a zone"
    return ""


def _content(event: dict[str, Any]) -> Iterator[Found]:
    kind, rows = event["kind"], event.get("rows")
    if kind not in catalogue.KINDS:
        yield "unknown-kind", f"event {event['id']}: the kind {kind[:40]!r} is not in the catalogue"
    else:
        why = catalogue.complaint(stream=event["stream"], kind=kind, v=event["v"], body=event["body"], rows=rows)
        if why:
            yield "body", f"event {event['id']}: {why}"
    for row in rows or ():
        if not _is_row(row):
            yield "row", f"event {event['id']} carries a row without table, id or columns"
        elif row["table"] not in REGISTER.state:
            yield "row", f"event {event['id']} carries a row of {row['table'][:80]!r}, which is no state table"


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("table"), str)
        and type(row.get("id")) in (int, str)
        and (row.get("gone") is True or isinstance(row.get("set"), dict))
    )
