"""Acts on scopes: the fleet, a repository, a tree, an agent. Shared by the pages of envelopes, policies and agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Q, QuerySet

from coordinator import public_api
from coordinator.admin.acts import Act
from coordinator.models import Agent, Envelope
from coordinator.public_types import ENDED, ScopeKind

MAX_REASON = 300
MAX_EXECUTIONS = 1_000_000
MAX_WALL_SECONDS = 366 * 24 * 3600
MAX_USD, MAX_TOKENS, MAX_TOOL_CALLS = 1_000_000, 10**12, 10**9

type ScopeOf = Callable[[Any], str]
"""Key of a row's scope."""
type ReachOf = Callable[[Sequence[Any]], QuerySet[Agent]]


class LimitsForm(forms.Form):
    """New limits of a scope; an empty field leaves its limit as it is."""

    executions = forms.IntegerField(
        min_value=1, max_value=MAX_EXECUTIONS, required=False, help_text="Runs in all, those done included."
    )
    wall_seconds = forms.IntegerField(
        min_value=1, max_value=MAX_WALL_SECONDS, required=False, help_text="Seconds in all, those used included."
    )

    usd = forms.DecimalField(
        min_value=Decimal("0.01"),
        max_value=MAX_USD,
        decimal_places=2,
        required=False,
        label="US dollars",
        help_text="Money for models in all, that spent included.",
    )
    tokens = forms.IntegerField(
        min_value=1, max_value=MAX_TOKENS, required=False, help_text="Tokens of models in all, those used included."
    )
    tool_calls = forms.IntegerField(
        min_value=1, max_value=MAX_TOOL_CALLS, required=False, help_text="Calls of tools in all, those made included."
    )
    children = forms.IntegerField(
        min_value=1, max_value=MAX_EXECUTIONS, required=False, help_text="Agents below it in all, at any depth."
    )

    def clean(self) -> dict[str, Any]:
        """One limit at least."""
        answers: dict[str, Any] = super().clean() or {}
        if not self.errors and not any(answers.values()):
            raise forms.ValidationError(
                "Give a new limit for executions, wall seconds, US dollars, tokens, tool calls or children."
            )
        return answers


class CancelForm(forms.Form):
    """Why it is cancelled."""

    reason = forms.CharField(max_length=MAX_REASON, required=False, help_text="Kept with the agents and in the audit.")


def within(keys: Sequence[str]) -> QuerySet[Agent]:
    """The agents under these scopes that have not ended."""
    inside = Q(pk__in=[])
    for row in Envelope.objects.filter(key__in=list(keys)).select_related("parent"):
        top = row.parent if row.kind == ScopeKind.DAY and row.parent is not None else row
        inside |= Q(envelope=top) | Q(envelope__ancestors__startswith=top.lineage)
    return Agent.objects.filter(inside).exclude(state__in=sorted(ENDED))


def pause_act(what: str, scope_of: ScopeOf, *, name: str = "pause", reach: ReachOf | None = None) -> Act:
    """Close the scope of each row."""

    def run(row: Any, actor: str, answers: Mapping[str, Any]) -> str:
        held = public_api.pause(scope_of(row), actor=actor)
        return f"paused, {held} queued {_runs(held)} held"

    return Act(
        name=name,
        label=f"Pause {what}",
        effect="Nothing new starts and nothing that ends is taken up until somebody unpauses. Running agents go on; their "
        "model calls through the gateway are put off.",
        run=run,
        reach=reach or _under(scope_of),
    )


def unpause_act(what: str, scope_of: ScopeOf, *, name: str = "unpause", reach: ReachOf | None = None) -> Act:
    """Open the scope of each row."""

    def run(row: Any, actor: str, answers: Mapping[str, Any]) -> str:
        released = public_api.unpause(scope_of(row), actor=actor)
        return f"unpaused, {released} queued {_runs(released)} may go on"

    return Act(
        name=name,
        label=f"Unpause {what}",
        effect="What waited for this pause is taken up. A pause of a wider scope still holds it back.",
        run=run,
        reach=reach or _under(scope_of),
    )


def cancel_act(what: str, scope_of: ScopeOf) -> Act:
    """End everything that is under way in the scope of each row."""

    def run(row: Any, actor: str, answers: Mapping[str, Any]) -> str:
        touched = public_api.cancel_scope(scope_of(row), actor=actor, reason=answers["reason"])
        return f"cancelled {len(touched.agents)} agents; {touched.running} running ones are being stopped"

    return Act(
        name="cancel",
        label=f"Cancel everything in {what}",
        effect="Every agent in it ends: what waits at once, what runs within seconds. Work done is kept; retry takes an "
        "agent up again. What is handed in later is not touched: pause the scope for that.",
        run=run,
        reach=_under(scope_of),
        form=CancelForm,
    )


def raise_limit_act(scope_of: ScopeOf) -> Act:
    """Give the scope of each row other limits."""

    def run(row: Any, actor: str, answers: Mapping[str, Any]) -> str:
        usd = answers.get("usd")
        view = public_api.raise_limit(
            scope_of(row),
            actor=actor,
            executions=answers["executions"],
            wall_seconds=answers["wall_seconds"],
            usd_micros=int(usd * 1_000_000) if usd else None,
            tokens=answers.get("tokens"),
            tool_calls=answers.get("tool_calls"),
            children=answers.get("children"),
        )
        money = "any money" if view.usd_limit_micros is None else f"${view.usd_limit_micros / 1_000_000:,.2f}"
        return (
            f"may use {_limit(view.executions_limit)} executions, {_limit(view.wall_limit_seconds)} wall seconds, "
            f"{money} and {_limit(view.tokens_limit)} tokens"
        )

    return Act(
        name="raise_limit",
        label="Raise limits",
        effect="What waits for room is decided again. A limit below what is used already is refused.",
        run=run,
        reach=_under(scope_of),
        form=LimitsForm,
    )


def _under(scope_of: ScopeOf) -> ReachOf:
    return lambda rows: within([scope_of(row) for row in rows])


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def _limit(value: int | None) -> str:
    return "any number of" if value is None else str(value)
