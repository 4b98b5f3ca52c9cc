from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import money, render
from coordinator.management.base import OK, GridCommand, actor, scope_of, text, whole
from coordinator.management.output import cell, table
from coordinator.public_api import Movement
from coordinator.public_errors import AgentNotFoundError, InvalidInputError
from coordinator.public_types import EnvelopeView

_MAX_COUNT = 1_000_000
_MAX_SECONDS = 10 * 365 * 86_400
_MAX_TOOL_CALLS = 10**9
_LIMITS = ("executions", "wall_seconds", "usd", "tokens", "tool_calls", "children")
_FLAGS = ("fleet", "repo", "tree", "issue")


class Command(GridCommand):
    help = "Show what scopes have used of their limits and how, or raise a limit."
    examples = """
    manage.py budget show                             every scope
    manage.py budget show --tree 12                   the tree of issue 12, and every agent in it
    manage.py budget show fleet:day:2026-11-28        one day of the fleet
    manage.py budget raise --tree 12 --executions 200
    manage.py budget raise --repo local/app --wall-seconds 36000
    manage.py budget raise --tree 12 --usd 25 --tokens 80000000 --tool-calls 90000
    manage.py budget history --tree 12 --limit 20     runs, model calls and raises, newest first
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("show", "raise", "history"), help="what to do")
        parser.add_argument(
            "scope",
            nargs="?",
            metavar="SCOPE",
            type=text(300),
            help="a scope by its key, as `--json` shows it: fleet, fleet:day:2026-11-28, repository:1, tree:12, agent:12",
        )
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument("--fleet", action="store_true", help="everything")
        scope.add_argument("--repo", metavar="REPO", type=text(4000), help="a repository: its path, or its name")
        scope.add_argument("--tree", metavar="ISSUE", type=text(300), help="an issue's whole tree")
        scope.add_argument("--issue", metavar="ISSUE", type=text(300), help="one agent, and all below it")
        parser.add_argument("--executions", type=whole(1, _MAX_COUNT), help="new limit of runs")
        parser.add_argument("--wall-seconds", type=whole(1, _MAX_SECONDS), help="new limit of all runs' time together")
        parser.add_argument("--usd", metavar="DOLLARS", type=_usd, help="new limit of money for models, as 5 or 2.50")
        parser.add_argument("--tokens", type=whole(1, money.MAX_TOKENS), help="new limit of tokens of models")
        parser.add_argument("--tool-calls", type=whole(1, _MAX_TOOL_CALLS), help="new limit of calls of tools")
        parser.add_argument("--children", type=whole(1, _MAX_COUNT), help="new limit of agents below it, at any depth")
        parser.add_argument(
            "--limit", metavar="N", type=whole(1, 1_000), default=50, help="so many movements at most (history)"
        )

    def answer(self, options: dict[str, Any]) -> int:
        has_scope = bool(options["scope"]) or any(options[name] for name in _FLAGS)
        if options["act"] != "raise" and any(options[name] for name in _LIMITS):
            raise InvalidInputError(f"limits are set by `budget raise`, not by `budget {options['act']}`")
        if options["act"] == "show":
            return self._show(self._scope(options)[0] if has_scope else "")
        if not has_scope:
            raise InvalidInputError("say whose: SCOPE, --fleet, --repo, --tree or --issue")
        scope, name = self._scope(options)
        if options["act"] == "history":
            return self._history(scope, name, options["limit"])
        if not any(options[name] for name in _LIMITS):
            raise InvalidInputError(
                "say which limit: --executions N, --wall-seconds N, --usd DOLLARS, --tokens N, --tool-calls N or --children N"
            )
        view = public_api.raise_limit(
            scope,
            actor=actor(),
            executions=options["executions"],
            wall_seconds=options["wall_seconds"],
            usd_micros=options["usd"],
            tokens=options["tokens"],
            tool_calls=options["tool_calls"],
            children=options["children"],
        )
        self.out.document({"envelope": view})
        self.out.line(cell(f"raised the limit of {name}; what waited for it is decided again", "green"))
        self.out.lines(render.envelopes([view], names=public_api.scope_names([view])), indent=2)
        return OK

    def _scope(self, options: dict[str, Any]) -> tuple[str, str]:
        """Key of the scope that is meant, and its name for people."""
        key = options["scope"]
        if key and any(options[name] for name in _FLAGS):
            raise InvalidInputError("name the scope once: SCOPE, --fleet, --repo, --tree or --issue")
        if not key:
            found, name, _ = scope_of(options)
            return found, name
        if public_api.is_day(key) and options["act"] == "raise":
            return key, key  # made when there is none
        try:
            return public_api.envelope(key).key, key
        except AgentNotFoundError:
            agent = public_api.find_agent(key)
            return f"agent:{agent.id}", agent.issue

    def _show(self, scope: str) -> int:
        views: list[EnvelopeView] = public_api.budget_tree(scope) if scope else public_api.envelopes()
        self.out.document({"envelopes": views})
        if views:
            names = public_api.scope_names(views)
            if scope:
                top = views[0].depth
                names = {view.key: "  " * max(0, view.depth - top) + names[view.key] for view in views}
            self.out.lines(render.envelopes(views, names=names))
            self.out.lines(render.warnings(views, names=public_api.scope_names(views)))
        else:
            self.out.line(cell("no scope has used anything yet", "dim"))
        return OK

    def _history(self, scope: str, name: str, limit: int) -> int:
        found = public_api.movements(scope, limit=limit)
        self.out.document({"scope": scope, "movements": found})
        if not found:
            self.out.line(cell(f"nothing has moved in {name} yet", "dim"))
            return OK
        headers = ("at", "what", "of", "runs", "wall time", "tool calls", "models", "tokens", "")
        self.out.lines(table([_movement(one) for one in found], headers=headers))
        return OK


def _movement(one: Movement) -> list[Any]:
    is_call = one.what.endswith("call")
    return [
        f"{one.at:%Y-%m-%d %H:%M:%S}",
        cell(one.what),
        str(one.of)[:8] if one.of else "",
        str(one.executions) if one.what.endswith("run") else "",
        f"{one.wall_seconds:,}s" if one.what.endswith("run") else "",
        f"{one.tool_calls:,}" if one.what.endswith("run") else "",
        money.dollars(one.usd_micros) if is_call else "",
        money.tokens(one.tokens) if is_call else "",
        cell(_act(one), "dim", limit=200),
    ]


def _act(one: Movement) -> str:
    if not one.actor:
        return ""
    before, after = one.detail.get("before"), one.detail.get("after")
    changed = ""
    if isinstance(before, dict) and isinstance(after, dict):
        changed = ", ".join(
            f"{name} {before.get(name)} -> {value}" for name, value in after.items() if before.get(name) != value
        )
    return f"by {one.actor}{': ' + changed if changed else ''}"


def _usd(value: str) -> int:
    found = money.micros(value)
    if found is None:
        raise ArgumentTypeError(f"{value[:40]!r} is no sum in US dollars between 0.000001 and {money.MAX_USD:,}")
    return found
