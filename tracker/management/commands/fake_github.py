from __future__ import annotations

import argparse
import json
import signal
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tracker.fake_github import FakeGithub

type _Installed = dict[str, Any]
WRITER, WRITER_TOKEN = "alice", "fake-writer-token"
MACHINE, MACHINE_TOKEN = "agent-grid", "fake-machine-token"
READER, READER_TOKEN = "rita", "fake-reader-token"
_README = "# {name}\n\nA repository on a fake GitHub.\n"
_EXAMPLES = """
examples:
  manage.py fake_github                                               acme/widgets at http://127.0.0.1:4010/
  manage.py fake_github --hook http://127.0.0.1:8000/webhooks/github/ --secret s --app-key app.pem
  manage.py fake_github --port 0 --json | head -n 1 | jq -r .url
exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 it cannot be served as asked, 2 bad input
"""


class Command(BaseCommand):
    help = "Serve a fake GitHub on 127.0.0.1, to try agent-grid without an account. See docs/fake-github.md."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=_port, default=4010, help="0 takes a free one (default: 4010)")
        parser.add_argument(
            "--repository",
            action="append",
            metavar="OWNER/NAME",
            help="may be given several times (default: acme/widgets)",
        )
        parser.add_argument(
            "--hook", metavar="URL", help="where webhooks go, such as http://127.0.0.1:8000/webhooks/github/"
        )
        parser.add_argument("--secret", default="", help="signs the webhooks")
        parser.add_argument("--duplicate", action="store_true", help="send every webhook twice")
        parser.add_argument("--shuffle", type=int, metavar="SEED", help="send webhooks out of order")
        parser.add_argument(
            "--git-root", type=Path, metavar="DIR", help="keeps the git repositories (default: lost at the end)"
        )
        parser.add_argument(
            "--app-key", type=Path, metavar="FILE", help="register the GitHub App agent-grid; its private key goes here"
        )
        parser.add_argument("--record", type=Path, metavar="FILE", help="append one JSON line for each API request")
        parser.add_argument(
            "--json", action="store_true", help="print addresses, tokens and installations as one JSON object"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["hook"] and not options["hook"].startswith(("http://", "https://")):
            raise CommandError("--hook must be an http address, such as http://127.0.0.1:8000/webhooks/github/")
        with ExitStack() as stack:
            root = options["git_root"] or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fake-github-")))
            try:
                server = stack.enter_context(FakeGithub.start(root, options["port"], record=options["record"]))
                installations = self._furnish(server, options)
            except (OSError, ValueError) as error:
                raise CommandError(f"{error}. Choose another --port, --repository, --git-root or --record.") from error
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            if options["json"]:
                self._document(server, options, installations)
            else:
                self._explain(server, options, installations)
            stop.wait()
        if not options["json"]:
            self.stdout.write("stopped")

    def _furnish(self, server: FakeGithub, options: dict[str, Any]) -> list[_Installed]:
        """Make what was asked for; returns the installations of the App."""
        installed: list[_Installed] = []
        world = server.world
        for token, login in ((WRITER_TOKEN, WRITER), (MACHINE_TOKEN, MACHINE), (READER_TOKEN, READER)):
            world.add_token(token, login)
        permissions = {WRITER: "write", MACHINE: "write", READER: "read"}
        names = options["repository"] or ["acme/widgets"]
        for name in names:
            world.add_repository(name, permissions, files={"README.md": _README.format(name=name)})
            if options["hook"] and not options["app_key"]:
                self._hook(server, name, options)
        if options["app_key"]:
            app = world.add_app()
            options["app_key"].touch(mode=0o600)
            options["app_key"].chmod(0o600)
            options["app_key"].write_text(app.private_key_pem)
            for owner in sorted({name.partition("/")[0] for name in names}):
                number = world.add_installation(app, owner)
                installed.append({"app": app.id, "slug": app.slug, "installation": number, "owner": owner})
            if options["hook"]:
                self._hook(server, app, options)
        world.auto_deliver = True
        return installed

    def _hook(self, server: FakeGithub, target: Any, options: dict[str, Any]) -> None:
        server.world.add_hook(
            target,
            url=options["hook"],
            secret=options["secret"],
            duplicate=options["duplicate"],
            shuffle=options["shuffle"],
        )

    def _document(self, server: FakeGithub, options: dict[str, Any], installations: list[_Installed]) -> None:
        document = {
            "url": server.url,
            "repositories": options["repository"] or ["acme/widgets"],
            "tokens": {WRITER: WRITER_TOKEN, MACHINE: MACHINE_TOKEN, READER: READER_TOKEN},
            "hook": options["hook"],
            "installations": installations,
        }
        self.stdout.write(json.dumps(document))
        self.stdout.flush()

    def _explain(self, server: FakeGithub, options: dict[str, Any], installations: list[_Installed]) -> None:
        name = (options["repository"] or ["acme/widgets"])[0]
        curl = f"curl -s -H 'Authorization: Bearer {WRITER_TOKEN}' {server.url}/repos/{name}"
        lines = (
            *("App {app} ({slug}), installation {installation} on {owner}".format_map(one) for one in installations),
            f"fake GitHub: {server.url}",
            f"look at it:  {server.url}/",
            f"{WRITER} (may write):       {WRITER_TOKEN}",
            f"{MACHINE} (machine user): {MACHINE_TOKEN}",
            f"{READER} (may only read):   {READER_TOKEN}",
            f"webhooks:    {options['hook'] or 'none; see --hook'}",
            "",
            "Open an issue, label it, read it again:",
            f'  {curl}/issues -d \'{{"title": "Add a greeting"}}\'',
            f'  {curl}/issues/1/labels -d \'{{"labels": ["agent:ready"]}}\'',
            f"  {curl}/issues/1",
            "Say something about the pull request, and merge it (see its number on the page):",
            f'  {curl}/issues/2/comments -d \'{{"body": "Say it twice, please."}}\'',
            f"  {curl}/pulls/2/merge -X PUT",
            "Clone:",
            f"  git clone {server.url.replace('://', f'://x-access-token:{WRITER_TOKEN}@')}/{name}.git",
            "",
            "Everything but git is forgotten when this stops: Ctrl-C.",
        )
        for line in lines:
            self.stdout.write(line)
        self.stdout.flush()


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; use 0 to 65535")
    return int(text)
