from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import github
from coordinator.management.base import NOT_OK, OK, GridCommand, actor
from coordinator.management.output import cell, table

_SHOWN = 200


class Command(GridCommand):
    help = "Compare GitHub with what we know, and agents with the labels people see; say, or repair, what differs."
    examples = """
    manage.py reconcile_github acme/widgets
    manage.py reconcile_github acme/widgets --repair
    manage.py reconcile_github acme/widgets --json | jq '.differences[] | .key, .what'
    """
    not_ok = "there are differences; with --repair: some are left"

    def arguments(self, parser: CommandParser) -> None:
        github.add_repository_argument(parser)
        parser.add_argument("--repair", action="store_true", help="do what the last column says")

    def answer(self, options: dict[str, Any]) -> int:
        repository = github.repository(options["repository"])
        with github.Bar(self.out) as bar:
            found = github.patiently(
                self.out,
                lambda: public_api.board_differences(repository.id, progress=lambda done: bar.show("issues", done)),
            )
        problems: list[tuple[str, str]] = []
        left = found
        if options["repair"] and found:
            problems = github.patiently(self.out, lambda: public_api.repair_board(repository.id, found, actor=actor()))
            left = github.patiently(self.out, lambda: public_api.board_differences(repository.id))
        answer = {"repository": repository.scope, "differences": found, "problems": problems, "left": left}
        self.out.document(answer)
        rows = [
            (cell(f"#{one.key}", "bold"), cell(one.what, "yellow"), cell(one.detail, limit=120), _remedy(one.repair))
            for one in found[:_SHOWN]
        ]
        self.out.lines(table(rows))
        if len(found) > _SHOWN:
            self.out.line(cell(f"... and {len(found) - _SHOWN} more; --json lists them all", "dim"))
        for key, error in problems:
            self.out.line(cell(f"#{key} could not be repaired: {error}", "red", limit=500))
        self._conclude(len(found), len(left), is_repair=options["repair"])
        return NOT_OK if left else OK

    def _conclude(self, found: int, left: int, *, is_repair: bool) -> None:
        if not found:
            self.out.line(cell("nothing differs", "green"))
        elif is_repair:
            self.out.line(cell(f"{found} differences, {left} left", "yellow" if left else "green"))
        else:
            self.out.line(cell(f"{found} differences; --repair does what the last column says", "yellow"))


def _remedy(repair: str) -> Any:
    return cell(repair or "for a person to decide", "" if repair else "bold")
