from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import defining, files
from coordinator.management.base import OK, GridCommand, actor, repository, text, whole
from coordinator.management.output import cell, table
from coordinator.public_errors import InvalidInputError

_MAX_BYTES = 64 << 10
_MAX_VERSION = 1_000_000


class Command(GridCommand):
    help = "Profiles of agents: what each is made of and where every value comes from; save a new version of one."
    examples = """
    manage.py profile list                              all of the fleet's; --repo adds a repository's own
    manage.py profile show worker                       each value with its origin, and what it grants
    manage.py profile show worker --repo local/app      as it holds there
    manage.py profile save worker worker.yml --base 2   a new version in place of version 2; toolsets: --kind toolset
    manage.py profile versions worker
    manage.py profile remove worker                     the shipped one counts again
    """
    not_ok = "somebody else saved a version meanwhile"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("list", "show", "save", "versions", "remove"), help="what to do")
        parser.add_argument("name", metavar="NAME", nargs="?", type=text(60), default="", help="name of the profile")
        parser.add_argument(
            "file", metavar="FILE", nargs="?", type=text(4000), help="YAML to save; - is standard input"
        )
        parser.add_argument("--repo", metavar="REPO", type=text(4000), help="with the repository's own (list, show)")
        parser.add_argument(
            "--kind", choices=("profile", "toolset", "tiers"), default="profile", help="what else can be saved so"
        )
        parser.add_argument(
            "--base", metavar="VERSION", type=whole(0, _MAX_VERSION), help="refuse when another version counts; 0: none"
        )
        parser.add_argument("--note", type=text(300), default="", help="why, for whoever looks at the versions")

    def answer(self, options: dict[str, Any]) -> int:
        act, name, kind = options["act"], options["name"], options["kind"]
        if act == "list":
            return defining.show_entries(self.out, "profile", _repository_id(options))
        if not name and kind == "tiers":
            name = "tiers"
        if not name:
            raise InvalidInputError(f"say which: `profile {act} NAME`; `profile list` shows what there is")
        if act == "show":
            return defining.show_profile(self.out, name, _repository_id(options))
        if act == "versions":
            return self._versions(kind, name)
        if act == "remove":
            public_api.take_back_definition(kind=kind, name=name, actor=actor())
            self.out.document({"kind": kind, "name": name, "removed": True})
            self.out.line(cell(f"the saved {kind} {name} does not count any more; its versions are kept", "green"))
            return OK
        if not options["file"]:
            raise InvalidInputError("say what to save: `profile save NAME FILE`, or - for standard input")
        body = files.read(options["file"], argument="FILE", limit=_MAX_BYTES)
        saved = public_api.save_definition(
            kind=kind, name=name, body=body, actor=actor(), base_version=options["base"], note=options["note"]
        )
        self.out.document({"saved": saved})
        self.out.line(cell(f"{kind} {name} is version {saved.version} now; agents' next runs use it", "green"))
        return OK

    def _versions(self, kind: str, name: str) -> int:
        versions = public_api.definition_versions(kind=kind, name=name)
        self.out.document({"versions": versions})
        rows = [
            (
                str(row.version),
                cell("current", "green") if row.is_current else "",
                row.created_by,
                f"{row.created_at:%Y-%m-%d %H:%M}",
                cell(row.note, "dim"),
            )
            for row in versions
        ]
        self.out.lines(
            table(rows, headers=("version", "", "by", "at", "note")) if rows else [cell("none saved", "dim")]
        )
        return OK


def _repository_id(options: dict[str, Any]) -> int | None:
    return repository(options["repo"]).id if options["repo"] else None
