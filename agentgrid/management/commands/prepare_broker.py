from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agentgrid import brokers
from grid import public_bus
from grid.public_errors import BusError

_EXAMPLES = """
examples:
  manage.py prepare_broker                  before each release, and after a change of BROKER_URL
  manage.py prepare_broker --check --json   for monitoring: changes nothing
exit codes: 0 the broker is ready, 1 something is wrong with it or it cannot be reached, 2 bad input
"""


class Command(BaseCommand):
    help = "Create or repair the broker's folders or queues. Safe to repeat; part of every release."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=_EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="change nothing, list what is wrong, exit 1 if anything is"
        )
        parser.add_argument("--json", action="store_true", help='print {"problems": [...]}')

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["check"]:
            try:
                brokers.ensure_queues()
            except brokers.BrokerError as error:
                raise CommandError(str(error)) from error
            self._prepare_bus()
        problems = brokers.check_queues()
        if options["json"]:
            self.stdout.write(json.dumps({"problems": problems}))
        else:
            self.stdout.write("\n".join(problems) or "The broker is ready.")
        if problems:
            raise SystemExit(1)

    def _prepare_bus(self) -> None:
        """Nothing of ours waits for the event bus, so its queue holds up no release."""
        if not public_bus.is_configured():
            return
        try:
            public_bus.prepare()
        except BusError as error:
            self.stderr.write(str(error))
