"""Read a plan from people and agents: every mistake at once, each with its line and what would be right. Pure.

This module looks at one value at a time; `plan_rules` looks at the tree as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from coordinator.documents import plan_nodes, plan_values, strict_yaml
from coordinator.documents.plan_nodes import Node, Plan
from coordinator.documents.strict_yaml import Path, Problem, UnreadableError, shortened
from coordinator.public_errors import InvalidInputError
from grid.public_toolkit import hint

VERSION = 1
MAX_BYTES = 1_000_000
MAX_DEPTH = 24
"""Of nested YAML: eight levels of agents take eighteen."""
MAX_VALUES = 60_000
MAX_TITLE, MAX_BODY = 256, 65_536
MAX_COMMANDS, MAX_PATHS = 50, 50
MAX_DEPENDENCIES = 50
MAX_USD = 1_000_000
MAX_PRIORITY = 1_000
_DOCUMENT = ("version", "base", "root", "seen")
_NODE = (
    "id", "new", "issue", "state", "goal", "body", "cwd", "acceptance", "files", "profile", "budget", "footprint",
    "depends_on", "priority", "children",
)  # fmt: skip
_MAX_SHOWN = 50


class PlanError(InvalidInputError):
    """A plan that cannot be taken; the message has a line for each problem, `problems` the same as values."""

    def __init__(self, problems: Iterable[Problem], *, source: str = "the plan") -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        lines = [f"  line {one.line}: {one.message}" if one.line else f"  {one.message}" for one in self.problems]
        more = [f"  and {len(lines) - _MAX_SHOWN} more"] if len(lines) > _MAX_SHOWN else []
        super().__init__("\n".join([f"{source}: {count}", *lines[:_MAX_SHOWN], *more]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A document whose single values are in order."""

    plan: Plan
    lines: Mapping[tuple[str, str], int]
    """Of each node's entries by id and key; of the node itself under the empty key."""

    def problem(self, node_id: str, key: str, message: str) -> Problem:
        """A problem at a node's entry, or at the node where that has no such entry."""
        line = self.lines.get((node_id, key)) or self.lines.get((node_id, "")) or 0
        return Problem(line=line, message=message)


def parse(data: bytes | str) -> Draft:
    """Read a document.

    Raises:
        PlanError: With everything that is wrong in it, as far as it can be read at all.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        document = strict_yaml.read(raw, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH, max_values=MAX_VALUES)
    except UnreadableError as error:
        raise PlanError([error.problem]) from error
    reader = _Reader(document.lines, list(document.problems))
    draft = reader.document(document.value)
    if reader.problems or draft is None:
        raise PlanError(reader.problems)
    return draft


class _Reader:
    def __init__(self, lines: Mapping[Path, int], problems: list[Problem]) -> None:
        self.lines, self.problems = lines, problems
        self.at: dict[tuple[str, str], int] = {}
        self.named: dict[str, int] = {}

    def document(self, value: object) -> Draft | None:
        if not isinstance(value, dict):
            self.note((), "this is no plan; `manage.py plan export` writes one to begin with")
            return None
        self.unknown(value, _DOCUMENT, ())
        if value.get("version") != VERSION:
            self.note(("version",), f"must be `version: {VERSION}`")
        base = value.get("base")
        if not isinstance(base, str) or not plan_nodes.BASE.fullmatch(base):
            self.note(("base",), "`base` must be as exported; export the plan again and put your changes into it")
            base = ""
        seen = value.get("seen", {})
        if not isinstance(seen, dict) or not all(isinstance(item, str) for item in seen.values()):
            self.note(("seen",), "`seen` must be as exported; it may be left out altogether")
            seen = {}
        root = self.node(value.get("root"), ("root",)) if "root" in value else None
        if "root" not in value:
            self.note((), "`root` is missing: the node of the issue that the plan is for")
        if root is None:
            return None
        return Draft(plan=Plan(base=base, root=root, seen=cast(dict[str, str], seen)), lines=self.at)

    def node(self, value: object, path: Path) -> Node | None:
        if not isinstance(value, dict):
            self.note(path, "a node must be a mapping with `id` or `new`, `goal` and so on")
            return None
        self.unknown(value, _NODE, path)
        node_id, is_new = self.name(value, path)
        for key in value:
            self.at.setdefault((node_id, str(key)), self.line((*path, key)))
        self.at.setdefault((node_id, ""), self.line(path))
        share, usd = self.budget(value.get("budget"), (*path, "budget"))
        return Node(
            id=node_id,
            is_new=is_new,
            goal=self.goal(value, path),
            body=self.text(value, "body", path, most=MAX_BODY),
            cwd=self.one(value, "cwd", path, plan_values.path),
            acceptance=self.many(value, "acceptance", path, plan_values.command, most=MAX_COMMANDS),
            files=self.many(value, "files", path, plan_values.path, most=MAX_PATHS),
            profile=self.one(value, "profile", path, plan_values.profile),
            share=share,
            usd_micros=usd,
            footprint=self.many(value, "footprint", path, plan_values.path, most=MAX_PATHS),
            depends_on=frozenset(self.many(value, "depends_on", path, plan_values.reference, most=MAX_DEPENDENCIES)),
            priority=self.whole(value.get("priority"), (*path, "priority"), -MAX_PRIORITY, MAX_PRIORITY),
            children=self.children(value, path),
        )

    def children(self, value: Mapping[str, Any], path: Path) -> tuple[Node, ...]:
        below = value.get("children")
        if below is None:
            return ()
        if not isinstance(below, list):
            self.note(
                (*path, "children"), "`children` must be a list of nodes, each beginning with `- id:` or `- new:`"
            )
            return ()
        found = (self.node(item, (*path, "children", index)) for index, item in enumerate(below))
        return tuple(node for node in found if node is not None)

    def name(self, value: Mapping[str, Any], path: Path) -> tuple[str, bool]:
        """Its id, and whether it is a new one. A node without a usable one gets a name that nobody else has."""
        known, new = value.get("id"), value.get("new")
        if (known is None) == (new is None):
            what = (
                "both `id` and `new`; keep one"
                if known is not None
                else "neither `id` (as exported) nor `new: some-name`"
            )
            self.note(path, f"a node has {what}")
        elif new is None and isinstance(known, str) and plan_nodes.EXISTING.fullmatch(known):
            return self.once(known, (*path, "id")), False
        elif new is None:
            self.note(
                (*path, "id"),
                f"{shortened(known)} is no id; ids are as exported (a12), new nodes have `new: some-name`",
            )
        elif isinstance(new, str) and plan_nodes.NEW.fullmatch(new) and not plan_nodes.EXISTING.fullmatch(new):
            return self.once(new, (*path, "new")), True
        else:
            self.note(
                (*path, "new"),
                f"{shortened(new)} cannot be a name: lower-case letters, digits and -, at most 40, and not like an id (a12)",
            )
        return f"?{len(self.at)}", True

    def once(self, name: str, path: Path) -> str:
        if name in self.named:
            self.note(path, f"{name} is already on line {self.named[name]}; a node stands in the plan once")
            return f"?{len(self.at)}"
        self.named[name] = self.line(path)
        return name

    def goal(self, value: Mapping[str, Any], path: Path) -> str:
        text = " ".join(self.text(value, "goal", path, most=4 * MAX_TITLE).split())
        place = (*path, "goal")
        if not text:
            if "goal" not in value or value["goal"] is None:
                self.note(
                    place if "goal" in value else path, "`goal` is missing: one line that says what is to be done"
                )
            elif isinstance(value["goal"], str):
                self.note(place, "`goal` is empty: write one line that says what is to be done")
        elif len(text) > MAX_TITLE:
            self.note(place, f"`goal` has {len(text)} characters; at most {MAX_TITLE}. Put the rest into `body`")
        return text

    def text(self, value: Mapping[str, Any], key: str, path: Path, *, most: int) -> str:
        found = value.get(key)
        if found is None:
            return ""
        if not isinstance(found, str):
            self.note((*path, key), f"`{key}` must be text; put {shortened(found)} in quotes")
            return ""
        if len(found) > most:
            self.note((*path, key), f"`{key}` has {len(found):,} characters; at most {most:,}. Shorten it")
            return ""
        return found

    def one(self, value: Mapping[str, Any], key: str, path: Path, read: Callable[[object], str]) -> str:
        if value.get(key) in (None, ""):
            return ""
        try:
            return read(value[key])
        except ValueError as error:
            self.note((*path, key), f"`{key}`: {error}")
            return ""

    def many(
        self, value: Mapping[str, Any], key: str, path: Path, read: Callable[[object], str], *, most: int
    ) -> tuple[str, ...]:
        items = value.get(key)
        if items is None:
            return ()
        if not isinstance(items, list):
            self.note((*path, key), f"`{key}` must be a list: `{key}: [first, second]`, or one `- entry` a line")
            return ()
        if len(items) > most:
            self.note((*path, key), f"`{key}` has {len(items)} entries; at most {most}")
            return ()
        found = []
        for index, item in enumerate(items):
            try:
                found.append(read(item))
            except ValueError as error:
                self.note((*path, key, index), f"`{key}`: {error}")
        return tuple(dict.fromkeys(found))

    def budget(self, value: object, path: Path) -> tuple[int | None, int | None]:
        if value is None:
            return None, None
        if not isinstance(value, dict):
            self.note(path, "`budget` must be a mapping: `budget: {share: 30, usd: 2.50}`")
            return None, None
        self.unknown(value, ("share", "usd"), path)
        share = self.whole(value.get("share"), (*path, "share"), 1, 100)
        usd = value.get("usd")
        if usd is None:
            return share, None
        if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 < usd <= MAX_USD:
            self.note((*path, "usd"), f"`usd` must be a number of dollars above 0 and at most {MAX_USD:,}, like 2.50")
            return share, None
        return share, max(1, round(usd * 1_000_000))

    def whole(self, value: object, path: Path, least: int, most: int) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.note(path, f"`{path[-1]}` must be a whole number from {least} to {most}, not {shortened(value)}")
            return None
        return value

    # --- notes ------------------------------------------------------------------------------------------------------

    def unknown(self, value: Mapping[str, Any], known: Iterable[str], path: Path) -> None:
        for key in value:
            if key not in known:
                # No more guesses than are shown: each compares the key with all there are.
                guess = f"; {hint(str(key)[:60], known)}" if len(self.problems) < _MAX_SHOWN else ""
                self.note((*path, key), f"unknown key {shortened(key)}{guess}")

    def note(self, path: Path, message: str) -> None:
        self.problems.append(Problem(line=self.line(path), message=message))

    def line(self, path: Path) -> int:
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)
