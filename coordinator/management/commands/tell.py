from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api, public_teamwork
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, add_issue, text
from coordinator.management.output import cell
from coordinator.public_types import MessageKind


class Command(GridCommand):
    help = "Say something to an agent: the running program, its next tool call, or its next run is told."
    examples = """
    manage.py tell 12 "use the parser of issue 11"
    git log -1 | manage.py tell app#12 -          from standard input
    manage.py tell 12 "which parser do you use?" --kind question
    manage.py tell 12 "the service is back" && manage.py nudge 12
    """
    not_ok = "the agent runs no more, or too many messages wait for it"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser)
        parser.add_argument(
            "text", metavar="TEXT", type=text(20_000), help="what to say; - reads it from standard input"
        )
        kinds = [str(kind) for kind in (MessageKind.CHAT, MessageKind.QUESTION, MessageKind.ANSWER)]
        parser.add_argument(
            "--kind", choices=kinds, default="chat", help="a question has an agent looked at that does not run"
        )

    def answer(self, options: dict[str, Any]) -> int:
        agent = public_api.find_agent(options["issue"])
        words = sys.stdin.read(20_000) if options["text"] == "-" else options["text"]
        receipt = public_teamwork.tell(agent.id, actor=actor(), text=words, kind=MessageKind(options["kind"]))
        self.out.document({"issue": agent.issue, **asdict(receipt)})
        self.out.line(cell(agent.issue, "bold"), "  ", cell(receipt.how))
        return NOT_OK if receipt.state == "undeliverable" else OK
