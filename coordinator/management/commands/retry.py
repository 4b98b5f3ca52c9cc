from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import answers
from coordinator.management.base import GridCommand, actor, add_issue


class Command(GridCommand):
    help = "Give an agent that failed, is blocked or was cancelled fresh attempts, and start it."
    examples = """
    manage.py retry 12
    manage.py retry app#12 --json | jq -r .decision.answer
    """
    not_ok = "it is done or under way, or was refused"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser)

    def answer(self, options: dict[str, Any]) -> int:
        agent = public_api.find_agent(options["issue"])
        decision = public_api.retry(agent.id, actor=actor())
        return answers.show(self.out, public_api.get_agent(agent.id), decision)
