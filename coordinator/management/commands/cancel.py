from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.control import Touched
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, add_issue, text
from coordinator.management.output import cell
from coordinator.management.render import counted
from coordinator.public_errors import InvalidInputError, NotAllowedError
from coordinator.public_types import ENDED, AgentView


class Command(GridCommand):
    help = "End an agent and everything below it. Work done so far is kept; `retry` takes it up again."
    examples = """
    manage.py cancel 12                  says what it touches and asks
    manage.py cancel 12 --yes --reason "the plan changed"
    """
    not_ok = "it had ended already, or you said no"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser)
        parser.add_argument("--reason", type=text(300), default="", help="why, for those who read the log")
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")

    def answer(self, options: dict[str, Any]) -> int:
        agent = public_api.find_agent(options["issue"])
        if agent.state in ENDED:
            raise NotAllowedError(f"{agent.issue} is {agent.state} already; `manage.py tree {agent.path}` shows it")
        if not options["yes"] and not self._is_confirmed(agent):
            self.out.line("nothing was cancelled")
            return NOT_OK
        touched = public_api.cancel(agent.id, actor=actor(), reason=options["reason"])
        self.out.document({"agent": public_api.get_agent(agent.id), "touched": touched})
        self.out.line(cell(f"cancelled {agent.issue}: {_words(touched)}", "yellow"))
        if touched.running:
            self.out.line(cell("what runs is asked to save its work and ends within seconds", "dim"), indent=2)
        return OK

    def _is_confirmed(self, agent: AgentView) -> bool:
        words = _words(public_api.preview([agent.id]))
        if self.out.as_json or not (self.out.is_terminal and sys.stdin.isatty()):
            raise InvalidInputError(f"cancelling {agent.issue} touches {words}; nobody can be asked here, so add --yes")
        self.out.line(cell(agent.issue, "bold"), "  ", cell(agent.title, limit=100))
        self.out.line(f"this touches {words}", indent=2)
        self.out.stream.write("Cancel it? [y/N] ")
        self.out.stream.flush()
        return sys.stdin.readline(10).strip().lower() in ("y", "yes")


def _words(touched: Touched) -> str:
    return f"{counted(len(touched.agents), 'agent')}, {touched.queued} queued and {touched.running} running"
