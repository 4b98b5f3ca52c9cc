from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management.base import OK, GridCommand, actor, text, whole
from coordinator.management.output import cell, table
from coordinator.public_errors import InvalidInputError
from coordinator.teamwork.upgrades import Upgrade

_STYLES = {"open": "yellow", "granted": "green", "refused": "red"}


class Command(GridCommand):
    help = "Requests of agents for more than they may: list, grant or refuse them. Nobody gets more than their parent holds."
    examples = """
    manage.py upgrade list                        those that wait for an answer; --all: answered ones, too
    manage.py upgrade grant 5 --words "for the migration only"
    manage.py upgrade refuse 5 --words "use the small model"
    """
    not_ok = "it was answered already, or its parent holds none of what is asked for"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("list", "grant", "refuse"), help="what to do")
        parser.add_argument("request", metavar="REQUEST", nargs="?", type=whole(1, 2**53), help="its number")
        parser.add_argument("--all", action="store_true", help="answered ones as well (list)")
        parser.add_argument("--words", type=text(1000), default="", help="for the agent")

    def answer(self, options: dict[str, Any]) -> int:
        if options["act"] == "list":
            found = public_api.find_upgrades(state="" if options["all"] else "open")
            self.out.document({"upgrades": found})
            self.out.lines(_table(found) if found else [cell("nobody asks for anything", "dim")])
            return OK
        if options["request"] is None:
            raise InvalidInputError(
                f"say which: `upgrade {options['act']} REQUEST`; `upgrade list` shows those that are open"
            )
        is_granted = options["act"] == "grant"
        done = public_api.answer_upgrade(options["request"], by=actor(), is_granted=is_granted, words=options["words"])
        self.out.document({"upgrade": done})
        got = f": {'; '.join(done.more)}" if is_granted else ""
        self.out.line(cell(f"request {done.id} of {done.path} is {done.state}{got}", "green"))
        return OK


def _table(found: list[Upgrade]) -> list[Any]:
    rows = [
        (
            str(row.id),
            row.path,
            cell(row.state, _STYLES.get(row.state, "")),
            cell("; ".join(row.more), limit=200),
            cell(row.reason, limit=200),
            row.answered_by,
        )
        for row in found
    ]
    return table(rows, headers=("request", "agent", "state", "more", "reason", "answered by"))
