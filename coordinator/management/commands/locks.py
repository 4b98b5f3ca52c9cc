from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_teamwork
from coordinator.documents.untrusted import one_line
from coordinator.management.base import OK, GridCommand, actor, repository, text, whole
from coordinator.management.output import cell, table
from coordinator.public_errors import InvalidInputError
from coordinator.public_teamwork import LockRow

_STYLES = {"held": "green", "waiting": "yellow"}


class Command(GridCommand):
    help = "Locks of running agents on paths of a repository: list them and who waits, or take one away."
    examples = """
    manage.py locks                                who holds which path, and who waits for it
    manage.py locks --repository ~/app --json
    manage.py locks release 17 --reason "its agent hangs"
    """
    not_ok = "the lock is not open any more"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", nargs="?", choices=("list", "release"), default="list", help="what to do")
        parser.add_argument("lock", metavar="LOCK", nargs="?", type=whole(1, 2**53), help="its number (release)")
        parser.add_argument("--repository", metavar="REPO", type=text(4000), help="only this one: its path or name")
        parser.add_argument("--reason", type=text(300), default="", help="for its holder, and the audit (release)")

    def answer(self, options: dict[str, Any]) -> int:
        if options["act"] == "list":
            chosen = repository(options["repository"]).id if options["repository"] else None
            found = public_teamwork.find_locks(repository_id=chosen)
            self.out.document({"locks": found})
            self.out.lines(_table(found) if found else [cell("nobody holds a lock", "dim")])
            return OK
        if options["lock"] is None:
            raise InvalidInputError("say which: `locks release LOCK --reason …`; `locks` shows those that are open")
        reason = one_line(options["reason"], 300)
        if not reason:
            raise InvalidInputError("say why with --reason: its holder is told, and the audit keeps it")
        done = public_teamwork.release_lock(options["lock"], actor=actor(), reason=reason)
        self.out.document({"lock": done})
        self.out.line(cell(f"lock {done.id} on {done.pattern} is {done.state}", "green"))
        return OK


def _table(found: list[LockRow]) -> list[Any]:
    rows = [
        (
            str(row.id),
            row.repository,
            cell(row.path, limit=80),
            row.mode,
            cell(row.state, _STYLES.get(row.state, "")),
            cell(f"{row.place} {row.title}".strip() or str(row.execution)[:8], limit=60),
            ", ".join(map(str, row.waits_for)),
            cell(row.reason, limit=80),
        )
        for row in found
    ]
    return table(rows, headers=("lock", "repository", "path", "mode", "state", "agent", "waits for", "reason"))
