from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from django.core.management.base import CommandParser

from coordinator import public_api, public_teamwork
from coordinator.documents.plan_schema import MAX_BYTES
from coordinator.management import files
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, add_issue, text
from coordinator.management.output import cell, table
from coordinator.management.render import counted
from coordinator.public_errors import CoordinatorError, InvalidInputError
from coordinator.public_teamwork import PlanPreview
from coordinator.public_types import AgentView

_STYLES = {"add": "green", "cancel": "red", "move": "cyan"}


class Command(GridCommand):
    help = "The plan of an issue and everything below it: write it out, see what an edited one would change, apply it."
    examples = """
    manage.py plan export 12 -o plan.yml     then edit plan.yml
    manage.py plan diff 12 plan.yml
    manage.py plan apply 12 plan.yml         shows what it does and asks; --yes does not ask
    manage.py plan edit 12                   all of it, in $EDITOR
    manage.py plan export 12 | sed 's/micro/worker/' | manage.py plan apply 12 - --yes
    """
    not_ok = "the tree has changed since, an earlier plan is still being carried out, or you said no"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("export", "diff", "apply", "edit"), help="what to do")
        add_issue(parser)
        parser.add_argument(
            "file", metavar="FILE", nargs="?", type=text(4000), help="the edited plan; - is standard input"
        )
        parser.add_argument("-o", "--output", metavar="FILE", type=text(4000), help="where to write it (export)")
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")

    def answer(self, options: dict[str, Any]) -> int:
        act, file = options["act"], options["file"]
        if act in ("diff", "apply") and not file:
            raise InvalidInputError(f"say which plan: `plan {act} {options['issue']} FILE`; `plan export` writes one")
        if act in ("export", "edit") and file:
            raise InvalidInputError(
                f"`plan {act}` takes no FILE" + ("; write to one with -o" if act == "export" else "")
            )
        agent = public_api.find_agent(options["issue"])
        if act == "export":
            return self._export(agent, options["output"])
        if act == "edit":
            return self._edit(agent, asks=not options["yes"])
        words = files.read(file, argument="FILE", limit=MAX_BYTES)
        if act == "diff":
            self._show(agent, public_teamwork.preview_plan(agent.id, words))
            return OK
        return self._apply(agent, words, asks=not options["yes"], may_ask=file != "-")

    def _export(self, agent: AgentView, output: str | None) -> int:
        made = public_teamwork.export_plan(agent.id)
        if output and output != "-":
            _write(Path(output), made.text)
            self.out.document({"issue": agent.issue, "base": made.base, "nodes": made.nodes, "file": output})
            self.out.line(cell(f"wrote {counted(made.nodes, 'node')} to {output}", "green"))
            return OK
        self.out.document({"issue": agent.issue, "base": made.base, "nodes": made.nodes, "plan": made.text})
        if not self.out.as_json:  # as it is: what is read back must be what was written
            self.out.stream.write(made.text)
        return OK

    def _apply(self, agent: AgentView, words: str, *, asks: bool, may_ask: bool) -> int:
        found = public_teamwork.preview_plan(agent.id, words)
        if asks and found.changes:
            if self.out.as_json or not may_ask or not (self.out.is_terminal and sys.stdin.isatty()):
                raise _unasked(found)
            self._show(agent, found)
            if self._ask("Apply it? [y/N] ") not in ("y", "yes"):
                self.out.line("nothing was changed")
                return NOT_OK
        done = public_teamwork.apply_plan(agent.id, words, actor=actor())
        self._done(agent, done)
        return OK

    def _edit(self, agent: AgentView, *, asks: bool) -> int:
        """Nothing that was written is lost: until it is applied, the file stays and is named."""
        made = public_teamwork.export_plan(agent.id)
        with tempfile.NamedTemporaryFile("w", prefix="plan-", suffix=".yml", delete=False, encoding="utf-8") as file:
            file.write(made.text)
        path, can_ask = Path(file.name), not self.out.as_json and sys.stdin.isatty()
        while True:
            _open_editor(path)
            words = files.read(str(path), argument="FILE", limit=MAX_BYTES)
            if words == made.text:
                path.unlink()
                self._done(agent, PlanPreview(changes=()))
                return OK
            try:
                if asks and not can_ask:
                    raise _unasked(public_teamwork.preview_plan(agent.id, words))
                said = self._agreed(agent, words) if asks else "y"
                if said == "y":
                    done = public_teamwork.apply_plan(agent.id, words, actor=actor())
                    path.unlink()
                    self._done(agent, done)
                    return OK
            except CoordinatorError as error:
                if not asks or not can_ask:
                    raise InvalidInputError(f"{error}\nYour text is in {path}") from error
                self.out.text(str(error))
                said = "n" if self._ask("Edit it again? [Y/n] ") in ("n", "no") else "e"
            if said == "n":
                self.out.line(f"nothing was changed; your text is in {path}")
                return NOT_OK

    def _agreed(self, agent: AgentView, words: str) -> str:
        """`y`, `n`, or `e` to edit again."""
        self._show(agent, public_teamwork.preview_plan(agent.id, words))
        said = self._ask("Apply it? [y]es, [e]dit again, [N]o ")
        return said[:1] if said[:1] in ("y", "e") else "n"

    def _ask(self, question: str) -> str:
        self.out.stream.write(question)
        self.out.stream.flush()
        return sys.stdin.readline(10).strip().lower()

    def _show(self, agent: AgentView, found: PlanPreview) -> None:
        self.out.document(_plain(agent, found))
        self.out.line(cell(agent.issue, "bold"), "  ", cell(agent.title, limit=100))
        shown = [
            (
                cell(change.kind.value, _STYLES.get(change.kind.value, "yellow")),
                cell(public_teamwork.plan_words(change)),
            )
            for change in found.changes
        ]
        self.out.lines(table(shown), indent=2)
        if found.queued or found.running:
            self.out.line(cell(f"this stops {found.queued} queued and {found.running} running", "red"), indent=2)
        if not found.changes:
            self.out.line(cell(_nothing(found), "dim"), indent=2)

    def _done(self, agent: AgentView, done: PlanPreview) -> None:
        self.out.document(_plain(agent, done))
        if not done.changes:
            self.out.line(cell(_nothing(done), "dim"))
            return
        self.out.line(cell(f"applied as plan {done.applied_as} of {agent.issue}: {_summary(done)}", "green"))


def _plain(agent: AgentView, found: PlanPreview) -> dict[str, Any]:
    return {
        "issue": agent.issue,
        "changes": [public_teamwork.plan_change(change) for change in found.changes],
        "queued": found.queued,
        "running": found.running,
        "applied_as": found.applied_as,
    }


def _nothing(found: PlanPreview) -> str:
    if found.applied_as is not None:
        return f"nothing to do: this very plan was applied before, as number {found.applied_as}"
    return "nothing to do: the tree is what the plan says"


def _summary(found: PlanPreview) -> str:
    return public_teamwork.plan_summary(found.changes)


def _unasked(found: PlanPreview) -> InvalidInputError:
    return InvalidInputError(f"this would do {_summary(found)}; nobody can be asked here, so add --yes")


def _open_editor(path: Path) -> None:
    """Celery brings the library that knows how editors are started."""
    try:
        click.edit(filename=str(path))
    except click.ClickException as error:
        raise InvalidInputError(f"{error.format_message()}; set EDITOR. The plan is in {path}") from error


def _write(path: Path, words: str) -> None:
    try:
        path.write_text(words, "utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror or error}") from error
