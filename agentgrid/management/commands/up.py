from __future__ import annotations

import os
import secrets
from argparse import RawDescriptionHelpFormatter
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections
from django.utils import timezone

from agentgrid import brokers, console
from agentgrid.state_dir import AlreadyRunningError, lock_state_dir
from agentgrid.supervisor import KINDS, Event, Supervisor, stack

_EXAMPLES = """
examples:
  manage.py up                      everything on this machine, admin at http://127.0.0.1:8000/
  manage.py up --slots 8 --no-web   eight agents at a time, no web process
  manage.py up --json               one JSON object per line: started, output, exited, restarting, stopping, stopped
Ctrl-C stops: agents save their work and are resumed by the next `up`. A second Ctrl-C does not wait for them.
exit codes: 0 stopped cleanly, 1 something had to be killed or could not be prepared
"""


class Command(BaseCommand):
    help = "Prepare the database and the broker, then run web, control, executions and beat under one supervisor."
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=_EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=_port, default=8000, help="of the admin on 127.0.0.1 (default: 8000)")
        parser.add_argument(
            "--slots", type=_slots, help="agents at a time on this machine (default: AGENTGRID_SLOTS or 4)"
        )
        parser.add_argument("--no-web", action="store_true", help="leave out the web process")
        parser.add_argument("--json", action="store_true", help="one JSON object per event instead of prose")

    def handle(self, *args: Any, **options: Any) -> None:
        report = partial(self._report, as_json=options["json"])
        try:
            lock = lock_state_dir(settings.STATE_DIR)
        except (AlreadyRunningError, OSError) as error:
            raise CommandError(str(error)) from error
        try:
            self._prepare(report)
            environment = dict(os.environ)  # noqa: TID251 - handed on to our own processes as it is
            if options["slots"]:
                environment["AGENTGRID_SLOTS"] = str(options["slots"])
            kinds = [kind for kind in KINDS if not (kind == "web" and options["no_web"])]
            if "web" in kinds:
                report(Event(kind="address", facts={"url": f"http://127.0.0.1:{options['port']}/"}))
            specs = stack(
                kinds,
                broker_kind=settings.BROKER_KIND,
                port=options["port"],
                agent_url=settings.GRID_AGENT_URL,
            )
            code = Supervisor(specs, environment=environment, report=report).run()
        finally:
            os.close(lock)
        if code:
            raise SystemExit(code)

    def _prepare(self, report: Any) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=0)
            brokers.ensure_queues()
            settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
            self._create_admin(report)
        except DatabaseError as error:
            raise CommandError(f"The database cannot be prepared: {error}; check DATABASE_URL") from error
        except brokers.BrokerError as error:
            raise CommandError(str(error)) from error
        finally:
            connections.close_all()  # nothing of ours may stay open over the forks to come

    def _create_admin(self, report: Any) -> None:
        """On the first run there is nobody who could sign in: create `admin` and show the password this once."""
        users = get_user_model()._default_manager
        if users.exists():
            return
        password = secrets.token_urlsafe(12)
        get_user_model().objects.create_superuser(username="admin", password=password)
        report(Event(kind="admin_created", facts={"user": "admin", "password": password}))

    def _report(self, event: Event, *, as_json: bool) -> None:
        now = timezone.now()
        if as_json:
            line = console.as_json(event, now=now)
        else:
            line = console.as_text(event, now=timezone.localtime(now), colour=self.style.SUCCESS("x") != "x")
        self.stdout.write(line)
        self.stdout.flush()


def _port(text: str) -> int:
    return _within(text, 1, 65_535)


def _slots(text: str) -> int:
    return _within(text, 1, 1_000)


def _within(text: str, least: int, most: int) -> int:
    number = int(text)
    if not least <= number <= most:
        raise ValueError(f"not between {least} and {most}")
    return number
