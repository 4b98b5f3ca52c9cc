from __future__ import annotations

import argparse
import json
import signal
import threading
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from grid.public_testing import FakeModel, Script


class Command(BaseCommand):
    help = "Serve a scripted model on 127.0.0.1 in the dialects of Anthropic, OpenAI, Gemini and Ollama. See docs/agents.md."

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
            self.stdout.write(model.url)
            self.stdout.flush()
            stop.wait()
            for request in model.requests if options["log"] else ():
                options["log"].write(f"{json.dumps(request)}\n")
