from __future__ import annotations

from argparse import SUPPRESS
from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import github
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, text
from coordinator.management.output import cell, table
from tracker import public_accounts, public_sync
from tracker.public_accounts import Finding
from tracker.public_errors import TrackerError


class Command(GridCommand):
    help = "Take a repository on GitHub under care, list those that are, or check whether all is set up well."
    examples = """
    manage.py github add acme/widgets
    manage.py github list
    manage.py github check
    manage.py github check acme/widgets --json | jq '.findings[] | select(.is_ok | not)'
    """
    not_ok = "check: something is not set up well"

    def arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="add|list|check")
        add = acts.add_parser("add", help="take a repository under care, or bring what is known of it up to date")
        add.add_argument("repository", metavar="OWNER/REPO", type=text(200))
        add.add_argument(
            "--replace",
            action="store_true",
            help="set another repository aside that is known by this name: ours is gone",
        )
        acts.add_parser("list", help="repositories on GitHub that are under care")
        check = acts.add_parser("check", help="credentials, permissions, webhooks, quota; with remedies")
        github.add_repository_argument(check, optional=True)
        for act in acts.choices.values():
            # Also before the act; left out here it must not overrule that one.
            act.add_argument("--json", action="store_true", default=SUPPRESS, help="JSON instead of words for people")

    def answer(self, options: dict[str, Any]) -> int:
        match options["act"]:
            case "add":
                return self._add(options["repository"], replace=options["replace"])
            case "list":
                return self._list()
            case _:
                return self._check(options["repository"])

    def _add(self, scope: str, *, replace: bool) -> int:
        repository = public_sync.add_repository(scope, replace=replace)
        public_api.refresh_repository(repository.id)
        public_api.record_audit(actor(), "add_repository", f"repository:{repository.id}", {"scope": repository.scope})
        error = next((error for row, error in public_api.policy_errors() if row.id == repository.id), "")
        self.out.document({"repository": repository, "error": error})
        self.out.line(cell(repository.scope, "bold"), f"  branch {repository.default_branch}")
        if error:
            self.out.line(cell(f"not fetched, or its policy is not good: {error}", "red", limit=500), indent=2)
        for line in (
            f"what it has already: manage.py backfill_github {repository.scope}",
            f"labels: manage.py github_labels {repository.scope} --create",
            f"is all well? manage.py github check {repository.scope}",
        ):
            self.out.line(cell(line, "dim"), indent=2)
        return NOT_OK if error else OK

    def _list(self) -> int:
        rows = github.under_care()
        self.out.document({"repositories": rows})
        self.out.lines(table([(cell(row.scope, "bold"), cell(row.default_branch), cell(row.source)) for row in rows]))
        if not rows:
            self.out.line(cell("none yet; manage.py github add OWNER/REPO takes one under care"))
        return OK

    def _check(self, scope: str | None) -> int:
        repositories = [github.repository(scope)] if scope else github.under_care()
        found = [("account", finding) for finding in public_accounts.check_account()]
        for repository in repositories:
            try:
                found += [(repository.scope, finding) for finding in public_sync.check_hooks(repository.id)]
            except TrackerError as error:
                finding = Finding(is_ok=False, what="its webhooks could not be looked at", remedy=str(error))
                found.append((repository.scope, finding))
        self.out.document(
            {
                "is_ok": all(finding.is_ok for _, finding in found),
                "findings": [
                    {"about": about, "is_ok": finding.is_ok, "what": finding.what, "remedy": finding.remedy}
                    for about, finding in found
                ],
            }
        )
        for about, finding in found:
            mark = cell("ok", "green") if finding.is_ok else cell("not", "red")
            self.out.line(
                mark, "  " if finding.is_ok else " ", cell(about, "bold"), "  ", cell(finding.what, limit=300)
            )
            if not finding.is_ok and finding.remedy:
                self.out.line(cell(f"remedy: {finding.remedy}", "bold", limit=1000), indent=4)
        return OK if all(finding.is_ok for _, finding in found) else NOT_OK
