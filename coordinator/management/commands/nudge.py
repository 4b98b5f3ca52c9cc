from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import answers
from coordinator.management.base import GridCommand, actor, add_issue, text


class Command(GridCommand):
    help = "Ask for a look at an agent now; the answer is shown and stored."
    examples = """
    manage.py nudge 12
    manage.py nudge app#12 --reason "the service is back"
    manage.py nudge 12 --json | jq -r .decision.reason
    """
    not_ok = "it was refused"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser)
        parser.add_argument("--reason", type=text(300), default="", help="why, for those who read the log")

    def answer(self, options: dict[str, Any]) -> int:
        agent = public_api.find_agent(options["issue"])
        decision = public_api.nudge(agent.id, actor=actor(), reason=options["reason"])
        return answers.show(self.out, public_api.get_agent(agent.id), decision)
