from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management.base import OK, GridCommand, actor, add_scope, scope_of
from coordinator.management.output import cell
from coordinator.management.render import counted


class Command(GridCommand):
    help = "Open a scope again: what waited there is taken up."
    examples = """
    manage.py unpause 12                 this agent alone
    manage.py unpause --tree 12          issue 12 and everything in its tree
    manage.py unpause --repo ../app      a repository, by path or name
    manage.py unpause --fleet            everything
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        add_scope(parser)

    def answer(self, options: dict[str, Any]) -> int:
        scope, name, _ = scope_of(options)
        released = public_api.unpause(scope, actor=actor())
        self.out.document({"scope": scope, "name": name, "is_paused": False, "released": released})
        self.out.line(cell(f"opened {name}: {counted(released, 'queued run')} may start now", "green"))
        return OK
