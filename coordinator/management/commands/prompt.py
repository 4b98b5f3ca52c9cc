from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import files
from coordinator.management.base import OK, GridCommand, actor, text, whole
from coordinator.management.output import cell, table
from coordinator.public_errors import InvalidInputError

_MAX_BYTES = 256 << 10
_MAX_VERSION = 1_000_000


class Command(GridCommand):
    help = "The prompt library: list, show, save and freeze templates. Agents write some for their own trees."
    examples = """
    manage.py prompt list                          everybody's and every tree's; --tree 12: what that tree sees
    manage.py prompt show review --tree 12         the text, and who wrote it in which run
    manage.py prompt save review review.txt        a new version for everybody
    manage.py prompt save work work.txt --base 0   in place of the shipped prompt of the mode 'work'
    manage.py prompt freeze review --tree 12       agents may use it, not change it
    """
    not_ok = "somebody else saved a version meanwhile"

    def arguments(self, parser: CommandParser) -> None:
        acts = ("list", "show", "versions", "save", "freeze", "unfreeze")
        parser.add_argument("act", choices=acts, help="what to do")
        parser.add_argument("name", metavar="NAME", nargs="?", type=text(60), default="", help="name of the template")
        parser.add_argument(
            "file", metavar="FILE", nargs="?", type=text(4000), help="text to save; - is standard input"
        )
        parser.add_argument("--tree", metavar="ISSUE", type=text(300), help="templates of this issue's tree")
        parser.add_argument(
            "--number", metavar="VERSION", dest="number", type=whole(0, _MAX_VERSION), help="an older one (show)"
        )
        parser.add_argument(
            "--base", metavar="VERSION", type=whole(0, _MAX_VERSION), help="refuse when another version counts; 0: none"
        )
        parser.add_argument("--description", type=text(300), default="", help="what it is for, in one line")

    def answer(self, options: dict[str, Any]) -> int:
        tree_id = public_api.find_agent(options["tree"]).root_id if options["tree"] else None
        scope = public_api.prompt_scope(tree_id) if tree_id is not None else ""
        act, name = options["act"], options["name"]
        if act == "list":
            return self._list(tree_id)
        if not name:
            raise InvalidInputError(f"say which: `prompt {act} NAME`; `prompt list` shows what there is")
        if act == "show":
            return self._show(name, tree_id, options["number"])
        if act == "versions":
            return self._table(public_api.prompt_versions(name, scope=scope))
        if act in ("freeze", "unfreeze"):
            saved = public_api.freeze_prompt(name, scope=scope, is_frozen=act == "freeze", actor=actor())
            return self._tell(saved, "frozen" if act == "freeze" else "unfrozen")
        if not options["file"]:
            raise InvalidInputError("say what to save: `prompt save NAME FILE`, or - for standard input")
        saved = public_api.save_prompt(
            name=name,
            scope=scope,
            body=files.read(options["file"], argument="FILE", limit=_MAX_BYTES),
            description=options["description"],
            author=actor(),
            base_version=options["base"],
        )
        return self._tell(saved, "saved")

    def _list(self, tree_id: int | None) -> int:
        return self._table(public_api.find_prompts(tree_id))

    def _table(self, found: list[Any]) -> int:
        self.out.document({"prompts": found})
        rows = [
            (
                cell(row.name, "bold"),
                row.scope or "everybody",
                str(row.version or "shipped"),
                cell("frozen", "yellow") if row.is_frozen else "",
                row.author,
                cell(str(row.execution_id or "")[:8], "dim"),
                cell(row.description),
            )
            for row in found
        ]
        headers = ("prompt", "for", "version", "", "by", "run", "description")
        self.out.lines(table(rows, headers=headers) if rows else [cell("none", "dim")])
        return OK

    def _show(self, name: str, tree_id: int | None, number: int | None) -> int:
        found = public_api.get_prompt(name, tree_id=tree_id, version=number)
        self.out.document({"prompt": found})
        run = f", run {str(found.execution_id)[:8]}" if found.execution_id else ""
        self.out.line(cell(f"(template: {found.provenance}{run})", "dim"))
        self.out.text(found.body)
        return OK

    def _tell(self, saved: Any, what: str) -> int:
        self.out.document({"prompt": saved})
        self.out.line(cell(f"{what}: {saved.provenance}", "green"))
        return OK
