from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from coordinator import public_api, public_teamwork
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, text, whole
from coordinator.management.output import cell, table
from coordinator.public_errors import InvalidInputError
from coordinator.public_teamwork import ConflictView

_STYLES = {"open": "yellow", "decided": "cyan", "carried-out": "green", "failed": "red", "cancelled": "dim"}
_LATE = timedelta(minutes=3)


class Command(GridCommand):
    help = "Conflicts about files between agents: list them, show one, or decide it; also instead of what was decided."
    examples = """
    manage.py conflict list                        those that stand; --all: those that are over, too
    manage.py conflict show 5
    manage.py conflict decide 5 sequence --first 12 --reason "the schema comes before its users"
    manage.py conflict decide 5 merge_plan --merger 11
    """
    not_ok = "it is over or cannot be decided so; list: one of them is overdue"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("list", "show", "decide"), help="what to do")
        parser.add_argument("conflict", metavar="CONFLICT", nargs="?", type=whole(1, 2**53), help="its number")
        parser.add_argument(
            "choice", metavar="CHOICE", nargs="?", type=text(40), help="release, sequence, fork or merge_plan (decide)"
        )
        parser.add_argument("--all", action="store_true", help="those that are over as well (list)")
        parser.add_argument("--issue", metavar="ISSUE", type=text(300), help="only those of this issue's agent (list)")
        parser.add_argument(
            "--first", metavar="AGENT", type=whole(1, 2**53), help="number of the agent that goes first (sequence)"
        )
        parser.add_argument(
            "--merger", metavar="AGENT", type=whole(1, 2**53), help="number of the agent that merges (merge_plan)"
        )
        parser.add_argument("--reason", type=text(1000), default="", help="for the two agents")

    def answer(self, options: dict[str, Any]) -> int:
        if options["act"] == "list":
            return self._list(options)
        if options["conflict"] is None:
            raise InvalidInputError(f"say which: `conflict {options['act']} CONFLICT`; `conflict list` shows them")
        if options["act"] == "show":
            return self._show(options["conflict"])
        if options["choice"] is None:
            raise InvalidInputError("say how: `conflict decide CONFLICT release|sequence|fork|merge_plan`")
        named = options["first"] if options["choice"] == "sequence" else options["merger"]
        done = public_teamwork.decide_conflict(
            options["conflict"],
            choice=options["choice"],
            actor=actor(),
            order=[] if named is None else [named],
            reason=options["reason"],
        )
        self.out.document({"conflict": done})
        self.out.line(cell(f"conflict {done.id}: {done.decision}", "green"))
        return OK

    def _list(self, options: dict[str, Any]) -> int:
        agent_id = public_api.find_agent(options["issue"]).id if options["issue"] else None
        found = public_teamwork.find_conflicts(state="" if options["all"] else "standing", agent_id=agent_id)
        self.out.document({"conflicts": found})
        self.out.lines(_table(found) if found else [cell("no two agents want the same", "dim")])
        return NOT_OK if any(_is_overdue(row) for row in found) else OK

    def _show(self, conflict_id: int) -> int:
        row = public_teamwork.get_conflict(conflict_id)
        self.out.document({"conflict": row})
        self.out.heading(f"conflict {row.id}: {row.what}")
        lines = [
            ("state", f"{row.state}{f': {row.reason}' if row.reason else ''}"),
            ("about", ", ".join(row.patterns)),
            ("asks", _agent(row.requester_id, row.requester)),
            ("has it", _agent(row.holder_id, row.holder)),
            ("decides", _decides(row)),
            ("decided", row.decision or f"not yet; the default is taken at {row.default_at:%H:%M:%S} UTC"),
            ("why", row.words),
            ("steps", ", ".join(f"{'x' if done else '-'} {name}" for name, done in row.steps)),
            ("waits", f"agent {row.waiter_id}" if row.waiter_id else ""),
            ("thread", str(row.thread_id or "")),
            ("choices", "; ".join(row.choices) if row.state == "open" else ""),
        ]
        self.out.lines(table([(name, cell(value, limit=600)) for name, value in lines if value]))
        for name in ("requester", "holder"):
            patch = (row.facts.get(name) or {}).get("patch")
            if patch:
                self.out.line(cell(f"what the {name} has changed there:", "bold"))
                self.out.text(patch)
        return NOT_OK if _is_overdue(row) else OK


def _is_overdue(row: ConflictView) -> bool:
    return row.state == "open" and row.default_at + _LATE < timezone.now()


def _agent(number: int, place: str) -> str:
    """By its number, which decisions and `--first` name, and its place in the tree, as other commands show it."""
    return f"agent {number} ({place})"


def _decides(row: ConflictView) -> str:
    return _agent(row.arbiter_id, row.arbiter) if row.arbiter_id else "a person"


def _table(found: list[ConflictView]) -> list[Any]:
    rows = [
        (
            str(row.id),
            row.kind,
            cell(", ".join(row.patterns), limit=80),
            _agent(row.requester_id, row.requester),
            _agent(row.holder_id, row.holder),
            _decides(row),
            cell(row.state, _STYLES.get(row.state, "")),
            cell(row.decision or row.reason, limit=200),
        )
        for row in found
    ]
    return table(rows, headers=("conflict", "kind", "about", "asks", "has it", "decides", "state", "decision"))
