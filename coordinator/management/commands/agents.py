from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator.management.base import NOT_OK, OK, GridCommand
from coordinator.management.output import cell, table
from grid import public_agents as grid_agents
from grid.public_types import CliCheck


class Command(GridCommand):
    help = "Say which agents this machine can run, and install the coding CLIs at the versions that were checked."
    examples = """
    manage.py agents check                 # every agent, with a dry run against a model on this machine
    manage.py agents check claude
    manage.py agents check --no-dry-run    # versions only
    manage.py agents install claude codex  # from npm, into the state folder
    """
    not_ok = "an agent that was named cannot run here"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("check", "install"))
        parser.add_argument("name", nargs="*", help="names of agents; all when left out")
        parser.add_argument("--no-dry-run", action="store_true", help="start no agent")

    def answer(self, options: dict[str, Any]) -> int:
        return self._install(options) if options["act"] == "install" else self._check(options)

    def _install(self, options: dict[str, Any]) -> int:
        made = grid_agents.install_clis(options["name"] or grid_agents.installable_clis())
        self.out.document({"installed": {name: str(path) for name, path in made.items()}})
        for name, path in made.items():
            self.out.line(cell(name, "bold"), "  ", cell(str(path)))
        return OK

    def _check(self, options: dict[str, Any]) -> int:
        # What needs options of its own cannot be tried without them.
        names = options["name"] or [name for name in grid_agents.agent_names() if name != "acp"]
        found = [grid_agents.check_cli(name, dry_run=not options["no_dry_run"]) for name in names]
        self.out.document({"agents": found})
        self.out.lines(table([_row(check) for check in found]))
        for check in found:
            for problem in check.missing:
                self.out.line(cell(f"{check.name}: {problem}", "yellow", limit=600))
        # All of them were looked at: those that are not installed are no failure.
        asked = found if options["name"] else [check for check in found if check.path or not check.accepted]
        return OK if all(check.works for check in asked) else NOT_OK


def _row(check: CliCheck) -> tuple[Any, ...]:
    if check.dry_run is None:
        tried = cell("not tried", "dim")
    elif check.dry_run:
        tried = cell(f"dry run failed: {check.dry_run}", "red", limit=300)
    else:
        tried = cell(f"dry run passed in {check.seconds} s", "green")
    version = f"{check.version or 'not found'}, needs {check.accepted}" if check.accepted else "our own"
    return (
        cell(check.name, "bold"),
        cell("works" if check.works else "does not work", "green" if check.works else "red"),
        cell(version),
        tried,
        cell(check.path, "dim"),
    )
