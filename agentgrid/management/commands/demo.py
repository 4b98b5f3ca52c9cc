"""`manage.py demo`: see agents split an issue, work in parallel, be resumed and merge; needs no key and no account."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agentgrid.demo import runner
from agentgrid.demo.stage import DemoFailedError

_CODES = "exit codes: 0 it went as it should, 1 it did not, 2 bad input"
_EXAMPLES = """examples:
  manage.py demo                      in var/demo, which it empties first
  manage.py demo --folder /tmp/grid   elsewhere
  manage.py demo --json               facts at the end as one JSON object
"""


class Command(BaseCommand):
    help = "Play the main job on a small repository with a scripted model: split, parallel work, resume, merge."
    requires_system_checks = ()
    examples = _EXAMPLES
    name = "demo"
    play = staticmethod(runner.play)

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        epilog = f"{self.examples}{_CODES}"
        return super().create_parser(*args, epilog=epilog, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--folder", type=Path, default=None, help=f"where to play (default: {self.name}/ in the state folder)"
        )
        parser.add_argument("--json", action="store_true", help="print the facts as one JSON object at the end")

    def handle(self, *args: Any, folder: Path | None, json: bool, **options: Any) -> None:
        target = (folder or settings.STATE_DIR / self.name).resolve()
        try:
            facts = self.play(folder=target, say=self._say)
        except DemoFailedError as error:
            raise CommandError(str(error)) from error
        if json:
            self.stdout.write(dumps(facts))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # the commands in between write to the same place by themselves


def dumps(facts: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(facts)
