from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import github
from coordinator.management.base import OK, GridCommand
from coordinator.management.output import cell
from tracker import public_sync


class Command(GridCommand):
    help = (
        "Read all issues, relations, comments and pull requests of a repository, and make agents again where they "
        "are missing. Broken off, it goes on where it stopped; run again, it changes nothing that is right."
    )
    examples = """
    manage.py backfill_github acme/widgets
    manage.py backfill_github acme/widgets --afresh       # begins at the beginning
    manage.py backfill_github acme/widgets --mirror-only  # makes no agents
    """

    def arguments(self, parser: CommandParser) -> None:
        github.add_repository_argument(parser)
        parser.add_argument("--afresh", action="store_true", help="forget how far a broken one has come")
        parser.add_argument("--mirror-only", action="store_true", help="read, but make no agents")

    def answer(self, options: dict[str, Any]) -> int:
        repository = github.repository(options["repository"])
        afresh = [options["afresh"]]
        with github.Bar(self.out) as bar:

            def read() -> public_sync.Backfilled:
                first, afresh[0] = afresh[0], False  # a pause is no reason to begin again
                return public_sync.backfill(
                    repository.id, progress=lambda told: bar.show(told.phase, told.done, told.total), afresh=first
                )

            read_whole = github.patiently(self.out, read)
        rebuilt = None
        if not options["mirror_only"]:
            rebuilt = github.patiently(self.out, lambda: public_api.rebuild_agents(repository.id))
        self.out.document({"repository": repository, "read": read_whole, "rebuilt": rebuilt})
        resumed = ", going on from a broken one" if read_whole.has_resumed else ""
        counts = f"{read_whole.issues} issues, {read_whole.comments} comments, {read_whole.changes} pull requests"
        self.out.line(cell(f"read {counts}{resumed}", "green"))
        if rebuilt is not None:
            made = ", ".join(f"{count} {state}" for state, count in rebuilt.made.items())
            self.out.line(cell(f"agents made again: {made or 'none were missing'}"))
            if rebuilt.unclaimed:
                keys = ", ".join(f"#{key}" for key in rebuilt.unclaimed[:20])
                self.out.line(cell(f"labels that were not ours, taken up as people's wishes: {keys}"))
        return OK
