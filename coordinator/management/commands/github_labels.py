from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator.management import github
from coordinator.management.base import NOT_OK, OK, GridCommand
from coordinator.management.output import cell, table
from tracker import public_sync


class Command(GridCommand):
    help = "Show the labels that a repository on GitHub needs, and create those that are missing."
    examples = """
    manage.py github_labels acme/widgets
    manage.py github_labels acme/widgets --create
    """
    not_ok = "labels are missing"

    def arguments(self, parser: CommandParser) -> None:
        github.add_repository_argument(parser)
        parser.add_argument("--create", action="store_true", help="create what is missing; nothing else is changed")

    def answer(self, options: dict[str, Any]) -> int:
        repository = github.repository(options["repository"])
        created = public_sync.create_labels(repository.id) if options["create"] else []
        labels = public_sync.labels(repository.id)
        self.out.document({"repository": repository.scope, "labels": labels, "created": created})
        rows = [
            (cell(label.name, "bold"), cell(f"#{label.colour}"), _standing(label, created), cell(label.description))
            for label in labels
        ]
        self.out.lines(table(rows))
        missing = [label for label in labels if not label.exists]
        if missing:
            self.out.line(cell(f"create them: manage.py github_labels {repository.scope} --create", "bold"))
        return NOT_OK if missing else OK


def _standing(label: public_sync.LabelStatus, created: list[str]) -> Any:
    if label.name in created:
        return cell("created", "green")
    return cell("there", "dim") if label.exists else cell("missing", "yellow")
