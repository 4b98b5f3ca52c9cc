from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone
from rich.text import Text

from coordinator import public_api
from coordinator.management import render
from coordinator.management.base import OK, GridCommand
from coordinator.management.output import cell, joined, stacked, table
from coordinator.reading import pulse
from coordinator.reading.overview import Overview

_NO_WORK = "nothing is under care yet; begin with: manage.py submit --repo PATH --title 'What is to be done'"
_NO_HOST = "no host has reported; start one with: manage.py up"
_ALL_SILENT = "no host takes work at the moment; start one with: manage.py up"
_WATCH_SECONDS = 1.0


class Command(GridCommand):
    help = "What needs me, what runs, what waits and why, hosts, budgets, broken policies."
    examples = """
    manage.py status                     once
    manage.py status --watch             again every second until Ctrl-C
    manage.py status --json | jq '.attention[].issue'
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--watch", action="store_true", help="show it again every second; with --json one line each"
        )

    def answer(self, options: dict[str, Any]) -> int:
        if not options["watch"]:
            overview = public_api.overview()
            self.out.document(_document(overview))
            self.out.lines(_lines(overview))
            return OK
        self._watch()
        return OK

    def _watch(self) -> None:
        if self.out.is_animated:
            with self.out.live() as live:
                while True:
                    live.update(stacked(_lines(public_api.overview())), refresh=True)
                    time.sleep(_WATCH_SECONDS)
        while True:
            overview = public_api.overview()
            self.out.record(_document(overview))
            self.out.lines([*_lines(overview), Text("---")])
            time.sleep(_WATCH_SECONDS)


def _document(overview: Overview) -> dict[str, Any]:
    return {
        "attention": overview.attention,
        "running": overview.running,
        "waiting": overview.waiting,
        "ended": overview.ended,
        "hosts": overview.hosts,
        "envelopes": overview.envelopes,
        "policy_errors": [{"repository": row.scope, "error": error} for row, error in overview.policy_errors],
        "repositories": overview.repositories,
        "bus": overview.bus,
        "sweeps": overview.sweeps,
    }


def _lines(overview: Overview) -> list[Text]:
    now = timezone.now()
    lines: list[Text] = []

    def section(title: str, rows: list[Text], *, empty: str = "") -> None:
        if rows or empty:
            lines.append(joined(*([""] if not lines else []), cell(title, "bold")))
            lines.extend(joined("  ", row) for row in rows or [cell(empty, "dim")])
            lines.append(Text())

    section("Needs you", _needs_you(overview), empty="nothing")
    idle = "nothing" if overview.repositories else _NO_WORK
    section("Runs", render.running(overview.running, now=now) if overview.running else [], empty=idle)
    section("Waits", render.waiting(overview.waiting, now=now) if overview.waiting else [])
    section("Ended last", render.waiting(overview.ended, now=now) if overview.ended else [])
    hosts = render.hosts(overview.hosts) if overview.hosts else []
    if hosts and not overview.has_working_host:
        hosts.append(cell(_ALL_SILENT, "red"))
    section("Hosts", hosts, empty=_NO_HOST)
    if overview.sweeps:
        section("Sweeps", [cell(f"{overview.sweeps}; {pulse.REMEDY}", "red")])
    shown = [
        view
        for view in overview.envelopes
        if view.paused_at or view.live or view.executions_spent or view.warned_at or view.breaker_opened_at
    ]
    warned = render.warnings(overview.envelopes, names=overview.scope_names)
    section("Budgets", [*render.envelopes(shown, names=overview.scope_names), *warned] if shown else [])
    if overview.bus:
        section("Event bus", [render.bus(overview.bus)])
    return lines[:-1]


def _needs_you(overview: Overview) -> list[Text]:
    now = timezone.now()
    lines = render.waiting(overview.attention, now=now) if overview.attention else []
    if overview.attention:
        name = overview.attention[0].issue
        lines.append(cell(f"next: manage.py explain {name}, then manage.py retry or cancel {name}", "dim"))
    lines += table([(row.scope, cell(f"policy or fetch: {error}", "red")) for row, error in overview.policy_errors])
    paused = [overview.scope_names[view.key] for view in overview.envelopes if view.paused_at]
    if paused:
        lines.append(cell(f"paused: {', '.join(paused)}; manage.py unpause opens it again", "yellow"))
    return lines
