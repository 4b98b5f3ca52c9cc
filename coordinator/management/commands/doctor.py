from __future__ import annotations

from typing import Any

from coordinator.management import checks
from coordinator.management.base import NOT_OK, OK, GridCommand
from coordinator.management.output import cell


class Command(GridCommand):
    help = "Look for rows that break a law of docs/invariants.md and for trouble with this machine; say the remedy."
    examples = """
    manage.py doctor
    manage.py doctor --json | jq '.violations[] | .law, .remedy'
    manage.py doctor || mail -s 'agent-grid' ops@example.com
    """
    not_ok = "a law is broken"

    def answer(self, options: dict[str, Any]) -> int:
        report = checks.examine()
        self.out.document(report)
        for violation in report.violations:
            self.out.line(cell(f"broken: {violation.law}", "red"), "  ", cell(violation.subject))
            self.out.line(cell(violation.detail, limit=1000), indent=2)
            self.out.line(cell(f"remedy: {violation.remedy}", "bold", limit=1000), indent=2)
        for warning in report.warnings:
            self.out.line(cell(f"warning: {warning.check}", "yellow"), "  ", cell(warning.detail, limit=1000))
            self.out.line(cell(f"remedy: {warning.remedy}", "bold", limit=1000), indent=2)
        for name, value in report.facts.items():
            self.out.line(cell(f"{name.replace('_', ' ')}: {value}", "dim"))
        if not report.violations:
            self.out.line(cell("no law is broken", "green"))
        return NOT_OK if report.violations else OK
