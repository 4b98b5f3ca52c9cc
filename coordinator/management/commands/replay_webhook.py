from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management.base import OK, GridCommand, actor, text
from coordinator.management.output import cell
from tracker import public_inbound


class Command(GridCommand):
    help = "Take a stored webhook up again, however it ended. It does no harm: a webhook only says where to look."
    examples = """
    manage.py replay_webhook 12
    manage.py replay_webhook 72d3162e-cc78-11e3-81ab-4c9367dc0958     what GitHub lists as X-GitHub-Delivery
    """
    not_ok = "it was refused"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("delivery", metavar="ID|GUID", type=text(100), help="its number here, or GitHub's GUID")

    def answer(self, options: dict[str, Any]) -> int:
        delivery = public_inbound.find(options["delivery"])
        public_api.replay_delivery(delivery.id, actor=actor())
        after = public_inbound.find(str(delivery.id))
        self.out.document({"delivery": after})
        what = f"{after.event} {after.action}".strip()
        self.out.line(
            cell(f"delivery {after.id} ({what} of {after.scope or 'no repository'}) is taken up again at once")
        )
        return OK
