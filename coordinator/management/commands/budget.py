from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import money, render
from coordinator.management.base import OK, GridCommand, actor, scope_of, text, whole
from coordinator.management.output import cell
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import EnvelopeView

_MAX_EXECUTIONS = 1_000_000
_MAX_SECONDS = 10 * 365 * 86_400
_LIMITS = ("executions", "wall_seconds", "usd", "tokens")


class Command(GridCommand):
    help = "Show what scopes have used of their limits, or raise a limit."
    examples = """
    manage.py budget show                             every scope
    manage.py budget show --tree 12                   the tree of issue 12
    manage.py budget raise --tree 12 --executions 200
    manage.py budget raise --repo local/app --wall-seconds 36000
    manage.py budget raise --tree 12 --usd 25 --tokens 80000000
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("show", "raise"), help="what to do")
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument("--fleet", action="store_true", help="everything")
        scope.add_argument("--repo", metavar="REPO", type=text(4000), help="a repository: its path, or its name")
        scope.add_argument("--tree", metavar="ISSUE", type=text(300), help="an issue's whole tree")
        scope.add_argument("--issue", metavar="ISSUE", type=text(300), help="one agent alone")
        parser.add_argument("--executions", type=whole(1, _MAX_EXECUTIONS), help="new limit of runs")
        parser.add_argument("--wall-seconds", type=whole(1, _MAX_SECONDS), help="new limit of all runs' time together")
        parser.add_argument("--usd", metavar="DOLLARS", type=_usd, help="new limit of money for models, as 5 or 2.50")
        parser.add_argument("--tokens", type=whole(1, money.MAX_TOKENS), help="new limit of tokens of models")

    def answer(self, options: dict[str, Any]) -> int:
        has_scope = any(options[name] for name in ("fleet", "repo", "tree", "issue"))
        if options["act"] == "show":
            if any(options[name] for name in _LIMITS):
                raise InvalidInputError("limits are set by `budget raise`, not by `budget show`")
            return self._show(scope_of(options)[0] if has_scope else "")
        if not has_scope:
            raise InvalidInputError("say whose limit: --fleet, --repo, --tree or --issue")
        if not any(options[name] for name in _LIMITS):
            raise InvalidInputError("say which limit: --executions N, --wall-seconds N, --usd DOLLARS or --tokens N")
        scope, name, _ = scope_of(options)
        view = public_api.raise_limit(
            scope,
            actor=actor(),
            executions=options["executions"],
            wall_seconds=options["wall_seconds"],
            usd_micros=options["usd"],
            tokens=options["tokens"],
        )
        self.out.document({"envelope": view})
        self.out.line(cell(f"raised the limit of {name}; what waited for it is decided again", "green"))
        self.out.lines(render.envelopes([view], names=public_api.scope_names([view])), indent=2)
        return OK

    def _show(self, scope: str) -> int:
        views: list[EnvelopeView] = public_api.envelopes()
        if scope:
            views = [public_api.envelope(scope)]
        self.out.document({"envelopes": views})
        if views:
            self.out.lines(render.envelopes(views, names=public_api.scope_names(views)))
        else:
            self.out.line(cell("no scope has used anything yet", "dim"))
        return OK


def _usd(value: str) -> int:
    found = money.micros(value)
    if found is None:
        raise ArgumentTypeError(f"{value[:40]!r} is no sum in US dollars between 0.000001 and {money.MAX_USD:,}")
    return found
