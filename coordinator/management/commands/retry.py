from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import answers
from coordinator.management.base import OK, GridCommand, actor, add_issue
from coordinator.management.output import cell
from coordinator.public_errors import InvalidInputError


class Command(GridCommand):
    help = "Give an agent that failed, is blocked or was cancelled fresh attempts, and start it."
    examples = """
    manage.py retry 12
    manage.py retry app#12 --json | jq -r .decision.answer
    manage.py retry --write close:12:1:completed      a tracker write that `doctor` lists
    """
    not_ok = "it is done or under way, or was refused"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser, optional=True)
        parser.add_argument("--write", metavar="KEY", help="instead: a write to the tracker that failed for ever")

    def answer(self, options: dict[str, Any]) -> int:
        if bool(options["write"]) == bool(options["issue"]):
            raise InvalidInputError("give either an issue or --write KEY")
        if options["write"]:
            public_api.retry_write(options["write"], actor=actor())
            self.out.document({"write": options["write"], "retried": True})
            self.out.line(cell(f"{options['write']} will be tried again at once"))
            return OK
        agent = public_api.find_agent(options["issue"])
        decision = public_api.retry(agent.id, actor=actor())
        return answers.show(self.out, public_api.get_agent(agent.id), decision)
