from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import explaining
from coordinator.management.base import OK, GridCommand, add_issue
from coordinator.management.output import cell
from coordinator.public_errors import InvalidInputError
from grid import public_api as grid


class Command(GridCommand):
    help = "Why an agent runs or does not: every gate, budget and limit, its last runs and nudges."
    examples = """
    manage.py explain 12
    manage.py explain 12 --prompt        the prompt of its last run, and the template that it was made of
    manage.py explain 12 --json | jq .now.reason
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser)
        parser.add_argument(
            "--prompt", action="store_true", help="the prompt of the last run, below the name of its template"
        )

    def answer(self, options: dict[str, Any]) -> int:
        agent = public_api.find_agent(options["issue"])
        if options["prompt"]:
            if agent.execution_id is None:
                raise InvalidInputError(f"{agent.issue} has not run yet, so there is no prompt; leave out --prompt")
            prompt = grid.prompt_of(agent.execution_id)
            template = str(grid.profile_of(agent.execution_id).get("prompt_from", ""))
            self.out.document({"execution": agent.execution_id, "template": template, "prompt": prompt})
            if template:
                self.out.line(cell(f"(template: {template})", "dim"))
            self.out.text(prompt)
            return OK
        found = public_api.explain(agent.id)
        self.out.document(found)
        explaining.show(self.out, found)
        return OK
