from __future__ import annotations

import argparse
import json
import signal
import threading
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from grid.public_testing import FakeModel, Script

_EXAMPLES = """
examples:
  manage.py fake_model script.json            in one terminal; then in another one:
  GATEWAY_PROVIDERS=anthropic GATEWAY_ANTHROPIC_URL=http://127.0.0.1:4011 GATEWAY_ANTHROPIC_API_KEY=x manage.py up
  manage.py fake_model script.json --port 0 --json | head -n 1 | jq -r .url
script.json: [{"text": "I do it.", "calls": [{"shell": "echo hi > hi.txt"}]}, {"text": "done"}]
exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 the script or the port cannot be used, 2 bad input
"""


class Command(BaseCommand):
    help = "Serve a scripted model on 127.0.0.1 in the dialects of Anthropic, OpenAI, Gemini and Ollama. See docs/agents.md."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=_EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("script", type=Path, help="JSON: a list of steps")
        parser.add_argument("--port", type=int, default=4011, help="0 takes a free one (default: 4011)")
        parser.add_argument(
            "--mode",
            choices=("history", "sequential"),
            default="history",
            help="which step answers: by the answers in the request's history, or each request the next one",
        )
        parser.add_argument("--log", type=argparse.FileType("a"), help="append one JSON line for each request")
        parser.add_argument("--json", action="store_true", help='print {"url": "http://…"} instead of the address')

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            steps = json.loads(options["script"].read_text("utf-8"))
            if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
                raise ValueError('the script must be a list of steps, such as [{"text": "done"}]')
            model = FakeModel(Script(steps, mode=options["mode"]), port=options["port"])
        except (OSError, ValueError, OverflowError) as error:
            raise CommandError(f"{error}. Give a JSON file with steps, and a free --port.") from error
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        with model:
            self.stdout.write(json.dumps({"url": model.url}) if options["json"] else model.url)
            self.stdout.flush()
            stop.wait()
            for request in model.requests if options["log"] else ():
                options["log"].write(f"{json.dumps(request)}\n")
