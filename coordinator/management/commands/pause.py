from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management.base import OK, GridCommand, actor, add_scope, scope_of
from coordinator.management.output import cell
from coordinator.management.render import counted


class Command(GridCommand):
    help = "Close a scope: nothing in it starts any more, and nothing that ends there is applied. Running agents go on."
    examples = """
    manage.py pause 12                   this agent alone
    manage.py pause --tree 12            issue 12 and everything in its tree
    manage.py pause --repo ../app        a repository, by path or name
    manage.py pause --fleet              everything
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        add_scope(parser)

    def answer(self, options: dict[str, Any]) -> int:
        scope, name, _ = scope_of(options)
        held = public_api.pause(scope, actor=actor())
        self.out.document({"scope": scope, "name": name, "is_paused": True, "held": held})
        self.out.line(cell(f"paused {name}: {counted(held, 'queued run')} held back; what runs goes on", "yellow"))
        self.out.line(cell("open it again with `manage.py unpause`, end what runs with `manage.py cancel`", "dim"))
        return OK
