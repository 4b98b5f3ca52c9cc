"""Where commands write: styled lines on a terminal, bare ones into a pipe, JSON when asked for.

Nothing that a person did not see as text gets through: escape sequences, control and invisible characters of issues and
agents are dropped on the way out, whichever the form.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import IO, Any
from uuid import UUID

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from coordinator.documents import untrusted

type Cell = str | Text
GAP = 2


class Output:
    """What one command prints.

    Args:
        stream: Standard output, or what stands in for it.
        as_json: Documents and records are printed, lines are not.
        colour: False never colours, True always does (`--force-color`), None colours a terminal.
    """

    def __init__(self, stream: IO[str], *, as_json: bool = False, colour: bool | None = None) -> None:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # an issue may use letters that a poor locale has not
        self.stream, self.as_json = stream, as_json
        self.is_terminal = bool(getattr(stream, "isatty", lambda: False)())
        self.is_styled = (self.is_terminal if colour is None else colour) and not as_json
        self.console = Console(
            file=stream,
            force_terminal=self.is_styled,
            color_system="auto" if colour is None else "standard",
            no_color=True if colour is False else None,  # None: rich looks at NO_COLOR
            highlight=False,
            markup=False,
            emoji=False,
        )

    def line(self, *parts: Cell, indent: int = 0) -> None:
        """Print one line; on a terminal it is cut at the right edge."""
        self.lines([joined(*parts)], indent=indent)

    def lines(self, lines: Sequence[Text], *, indent: int = 0) -> None:
        """Print lines, unless JSON was asked for."""
        if self.as_json:
            return
        for line in lines:
            shown = Text(" " * indent).append_text(line)
            if self.is_styled:
                self.console.print(shown, no_wrap=True, overflow="ellipsis", crop=True)
            else:
                self.stream.write(f"{_bare(shown)}\n")
        self.stream.flush()

    def text(self, text: str) -> None:
        """Print a text of several lines as it is, but for what no person can see."""
        if not self.as_json:
            self.stream.write(untrusted.terminal(text).rstrip("\n") + "\n")
            self.stream.flush()

    def heading(self, text: str) -> None:
        """Print a heading, set off by an empty line."""
        self.lines([Text(), cell(text, "bold")])

    def document(self, value: object) -> None:
        """Print one JSON document, when JSON was asked for."""
        if self.as_json:
            self.stream.write(json.dumps(jsonable(value), indent=2) + "\n")
            self.stream.flush()

    def record(self, value: object) -> None:
        """Print one JSON object on a line of its own, when JSON was asked for."""
        if self.as_json:
            self.stream.write(json.dumps(jsonable(value)) + "\n")
            self.stream.flush()

    def live(self) -> Live:
        """A region of the terminal that is drawn again and again; only where `is_animated`."""
        return Live(console=self.console, auto_refresh=False, transient=True, vertical_overflow="ellipsis")

    @property
    def is_animated(self) -> bool:
        """Whether a live display makes sense here."""
        return self.is_terminal and not self.as_json and not self.console.is_dumb_terminal


def cell(text: object, style: str = "", *, limit: int = 400) -> Text:
    """One line of foreign or own text, made harmless."""
    return Text(untrusted.one_line(untrusted.terminal(str(text)[: 4 * limit]), limit), style=style)


def row(text: str, style: str = "", *, limit: int = 2_000) -> Text:
    """One line of a program's output, made harmless; its indentation stays."""
    shown = _one_row(text[: 4 * limit])
    return Text(shown if len(shown) <= limit else f"{shown[: limit - 1]}…", style=style)


def joined(*parts: Cell) -> Text:
    """Parts side by side; plain strings are made harmless, but keep their spaces."""
    line = Text()
    for part in parts:
        line.append_text(part if isinstance(part, Text) else Text(_one_row(part)))
    return line


def table(rows: Sequence[Sequence[Cell]], *, headers: Sequence[str] = ()) -> list[Text]:
    """Columns as wide as their longest cell; the last one is not padded."""
    cells = [[Text(name, style="dim") for name in headers]] if headers else []
    cells += [[part if isinstance(part, Text) else cell(part) for part in row] for row in rows]
    widths = [max(cell_len(row[column].plain) for row in cells) for column in range(len(cells[0]))] if cells else []
    lines = []
    for row in cells:
        line = Text()
        for column, part in enumerate(row):
            line.append_text(part)
            if column < len(row) - 1:
                line.append(" " * (widths[column] - cell_len(part.plain) + GAP))
        lines.append(line)
    return lines


def stacked(lines: Sequence[Text]) -> Group:
    """Lines as one thing to draw, each cut at the right edge."""
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def jsonable(value: object) -> Any:
    """Plain JSON of values, mappings and sequences; texts without what no person can see."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {untrusted.terminal(str(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, str):
        return untrusted.terminal(str(value))
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _bare(line: Text) -> str:
    return _one_row(line.plain).rstrip()


def _one_row(text: str) -> str:
    return untrusted.terminal(text).replace("\n", " ").expandtabs(4)
