from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, add_scope, scope_of, text
from coordinator.management.output import cell
from coordinator.management.render import counted
from coordinator.public_errors import InvalidInputError, NotAllowedError
from coordinator.public_types import ENDED, AgentView
from coordinator.reading.touching import Touched


class Command(GridCommand):
    help = (
        "End an agent and everything below it, or all of a tree, a repository or the fleet. Work done so far is kept."
    )
    examples = """
    manage.py cancel 12                  says what it touches and asks
    manage.py cancel 12 --yes --reason "the plan changed"
    manage.py cancel --tree 12.1 --yes   the whole tree that 12.1 belongs to
    manage.py cancel --repo ../app       (or --fleet)
    """
    not_ok = "it had ended already, or you said no"

    def arguments(self, parser: CommandParser) -> None:
        add_scope(parser, issue_help="this agent and everything below it")
        parser.add_argument("--reason", type=text(300), default="", help="why, for those who read the log")
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")

    def answer(self, options: dict[str, Any]) -> int:
        scope, name, agent = scope_of(options)
        if agent is not None and not options["tree"] and agent.state in ENDED:
            raise NotAllowedError(f"{agent.issue} is {agent.state} already; `manage.py tree {agent.path}` shows it")
        if not options["yes"] and not self._is_confirmed(scope, name, agent):
            self.out.line("nothing was cancelled")
            return NOT_OK
        touched = public_api.cancel_scope(scope, actor=actor(), reason=options["reason"])
        shown = public_api.get_agent(agent.id) if agent is not None else None
        self.out.document({"scope": scope, "agent": shown, "touched": touched})
        self.out.line(cell(f"cancelled {name}: {_words(touched)}", "yellow"))
        if touched.running:
            self.out.line(cell("what runs is asked to save its work and ends within seconds", "dim"), indent=2)
        return OK

    def _is_confirmed(self, scope: str, name: str, agent: AgentView | None) -> bool:
        words = _words(public_api.preview_scope(scope))
        if self.out.as_json or not (self.out.is_terminal and sys.stdin.isatty()):
            raise InvalidInputError(f"cancelling {name} touches {words}; nobody can be asked here, so add --yes")
        self.out.line(cell(name, "bold"), "  ", cell(agent.title if agent else "", limit=100))
        self.out.line(f"this touches {words}", indent=2)
        self.out.stream.write("Cancel it? [y/N] ")
        self.out.stream.flush()
        return sys.stdin.readline(10).strip().lower() in ("y", "yes")


def _words(touched: Touched) -> str:
    return f"{counted(len(touched.agents), 'agent')}, {touched.queued} queued and {touched.running} running"
