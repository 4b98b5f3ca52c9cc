"""A small, boring part of YAML, read from people we do not know. Pure.

Mappings with text keys, lists, text, whole and decimal numbers, `true`, `false` and `null`, as in YAML 1.2's core
schema: `yes`, `on`, `1:30` and `2026-01-31` are text. Anchors, aliases, tags and a second document are refused, so what
is read is never larger than what was written. Each value knows its line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_MAX_DEPTH = 16
_MAX_VALUES = 5_000
_MAX_DIGITS = 18  # fits in 64 bits, for any language that reads the JSON we make of it
_INTEGER = re.compile(r"[-+]?[0-9]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters: no database, terminal or prompt wants them."""

type Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that must be put right."""

    line: int
    """Counted from 1; 0 where no line is known."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says, as plain JSON, and where it says it."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    """Line of each value, by the keys and indexes that lead to it; of a mapping's entry, the line of its key."""
    problems: tuple[Problem, ...] = ()
    """What is wrong in places and left out of `value`."""


class UnreadableError(Exception):
    """Not YAML, or not of the kind described above; nothing of it can be used."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"line {problem.line}: {problem.message}")
        self.problem = problem


def nearest_line(path: Path, lines: Mapping[Path, int]) -> int:
    """The line of a value, or of the nearest thing around it that has one; 0 where nothing has."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def read(data: bytes, *, max_bytes: int, max_depth: int = _MAX_DEPTH, max_values: int = _MAX_VALUES) -> Document:
    """Read one document; its value is None when the file says nothing.

    Raises:
        UnreadableError: It is too large, no UTF-8, no YAML, or uses what is refused here.
    """
    if len(data) > max_bytes:
        raise _unreadable(0, f"the file has {len(data):,} bytes; at most {max_bytes:,} are read. Make it shorter")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(line, "this is not UTF-8; save the file in that encoding") from error
    try:
        loader = _Loader(text, max_depth=max_depth, max_values=max_values)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _unreadable(mark.line + 1 if mark else 0, _in_words(error)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _unreadable(line, f"the character U+{ord(text[error.position]):04X} is not allowed; remove it") from error
    except (ValueError, OverflowError) as error:  # an escape such as "\U99999999", which PyYAML does not check
        raise _unreadable(loader.line + 1, "this escape names no character; correct the number after the \\") from error
    if node is None:
        return Document(value=None)
    walk = _Walk()
    value = walk.value(node, ())
    return Document(value=value, lines=walk.lines, problems=tuple(walk.problems))


class _Loader(yaml.BaseLoader):
    """Refuses early, event by event, before anything is built from it."""

    def __init__(self, text: str, *, max_depth: int, max_values: int) -> None:
        super().__init__(text)
        self._max_depth, self._max_values = max_depth, max_values
        self._depth = 0
        self._values = 0

    def get_event(self) -> Any:
        """The next event, if it is a harmless one."""
        event = super().get_event()  # type: ignore[no-untyped-call]  # types-PyYAML leaves it bare
        if getattr(event, "anchor", None) is not None:  # aliases have one, too
            raise _refused(event, "anchors (&name) and aliases (*name) are refused; write the value out")
        if getattr(event, "tag", None) is not None:
            raise _refused(event, "tags (!name) are refused; remove it, or put the text in quotes")
        if isinstance(event, yaml.NodeEvent):
            self._values += 1
        if isinstance(event, yaml.CollectionStartEvent):
            self._depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
        if self._depth > self._max_depth:
            raise _refused(event, f"nested more than {self._max_depth} levels deep; make it flatter")
        if self._values > self._max_values:
            raise _refused(event, f"more than {self._max_values:,} values; make the file shorter")
        return event


class _Walk:
    """Turns nodes into plain values and notes lines and problems on the way."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, _line(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(key_node, "a key must be text; put it in quotes if it begins with [ or {")
                continue
            key = self._text(key_node)
            if key in found:
                first = self.lines[*path, key]
                self._note(key_node, f"the key {shortened(key)} is already given on line {first}; keep one of the two")
                continue
            self.lines[*path, key] = _line(key_node)
            found[key] = self.value(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = self._text(node)
        if node.style is not None:  # in quotes, or a block: text, whatever it looks like
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if _DECIMAL.fullmatch(text):
            number = float(text)
            if _INTEGER.fullmatch(text) or math.isinf(number):
                self._note(node, f"the number {shortened(text)} is too large; put it in quotes if it is text")
                return 0
            return number
        return text

    def _text(self, node: yaml.ScalarNode) -> str:
        text: str = node.value
        if bad := _UNSTORABLE.search(text):
            self._note(node, f"the text holds the control character U+{ord(bad[0]):04X}; remove it")
            return _UNSTORABLE.sub("", text)
        return text

    def _note(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(line=_line(node), message=message))


def shortened(value: object, limit: int = 60) -> str:
    """A value for a message: as YAML writes it, on one line, in ASCII, never long."""
    if not isinstance(value, str):
        return json.dumps(value)[:limit]
    return ascii(value) if len(value) <= limit else f"{value[:limit]!a}…"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _RefusedError(yaml.MarkedYAMLError):
    """Proper YAML that we do not want."""


def _refused(event: Any, message: str) -> _RefusedError:
    return _RefusedError(problem=message, problem_mark=event.start_mark)


def _in_words(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's complaint, or ours."""
    if isinstance(error, _RefusedError):
        return str(error.problem)
    said = " ".join(part for part in (error.context, error.problem) if part)
    hint = "; indent with spaces, not with tabs" if "'\\t'" in said else ""
    return f"not valid YAML: {said.encode('ascii', 'replace').decode()[:200]}{hint}"


def _unreadable(line: int, message: str) -> UnreadableError:
    return UnreadableError(Problem(line=line, message=message))
