from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import defining
from coordinator.management.base import OK, GridCommand, repository, text
from coordinator.management.output import cell
from coordinator.public_errors import InvalidInputError


class Command(GridCommand):
    help = "Toolsets: which tools each holds, with all that it extends. `profile save --kind toolset` saves one."
    examples = """
    manage.py toolset list
    manage.py toolset show worker
    manage.py toolset show worker --repo local/app
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("list", "show"), help="what to do")
        parser.add_argument("name", metavar="NAME", nargs="?", type=text(60), default="", help="name of the toolset")
        parser.add_argument("--repo", metavar="REPO", type=text(4000), help="with the repository's own")

    def answer(self, options: dict[str, Any]) -> int:
        repository_id = repository(options["repo"]).id if options["repo"] else None
        if options["act"] == "list":
            return defining.show_entries(self.out, "toolset", repository_id)
        if not options["name"]:
            raise InvalidInputError("say which: `toolset show NAME`; `toolset list` shows what there is")
        tools = public_api.toolset(options["name"], repository_id=repository_id)
        self.out.document({"name": options["name"], "tools": tools})
        self.out.lines([cell(name) for name in tools])
        return OK
