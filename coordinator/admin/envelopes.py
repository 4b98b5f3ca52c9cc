"""Envelopes and their ledger in the admin: what each scope may use, and the switch and the limits of each."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F
from django.utils.html import format_html

from coordinator.admin.acts import ActingAdmin
from coordinator.admin.display import line
from coordinator.admin.links import run_link
from coordinator.admin.scopes import cancel_act, pause_act, raise_limit_act, unpause_act
from coordinator.admin.spending import dollars, spend_of
from coordinator.models import Agent, Envelope, LedgerEntry
from coordinator.public_types import ScopeKind
from grid.public_admin import ReadOnlyAdmin, link, list_link, pill, table

LEDGER_ROWS = 200


def envelope_status(row: Envelope) -> str:
    """Open or paused, and by whom."""
    if row.paused_at is None:
        return pill("open")
    return format_html("{} by {} at {}", pill("paused"), line(row.paused_by), f"{row.paused_at:%Y-%m-%d %H:%M}")


def used(reserved: int, spent: int, limit: int | None, unit: str = "") -> str:
    """Figures of one limit in words."""
    return f"{spent}{unit} spent + {reserved}{unit} reserved of {'any' if limit is None else f'{limit}{unit}'}"


class PausedFilter(admin.SimpleListFilter):
    """Envelopes that are paused or open."""

    title = "pause"
    parameter_name = "paused"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Both."""
        return [("yes", "paused"), ("no", "open")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """By whether a pause is set on the envelope itself."""
        return queryset if self.value() is None else queryset.filter(paused_at__isnull=self.value() != "yes")


class RoomFilter(admin.SimpleListFilter):
    """Envelopes whose executions or wall time are used up."""

    title = "room"
    parameter_name = "room"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Only what needs a look."""
        return [("none", "executions used up"), ("nearly", "executions 80 % used")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """By what is reserved and spent against the limit."""
        share = {"none": 100, "nearly": 80}.get(self.value() or "")
        if share is None:
            return queryset
        at_least = F("executions_limit") * share
        figures = queryset.annotate(used=(F("executions_reserved") + F("executions_spent")) * 100)
        return figures.filter(used__gte=at_least)


class TightFilter(admin.SimpleListFilter):
    """Envelopes of which most is spent, and trees that spend without progress."""

    title = "warning"
    parameter_name = "tight"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Both."""
        return [("spent", "nearly spent"), ("idle", "no progress")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """By what stands in the row."""
        column = {"spent": "warned_at", "idle": "breaker_opened_at"}.get(self.value() or "")
        return queryset if column is None else queryset.filter(**{f"{column}__isnull": False})


@admin.register(Envelope)
class EnvelopeAdmin(ActingAdmin):
    """Scopes: what they may use, hold in reserve and have used."""

    list_display = (
        *("key", "kind", "status", "above", "of_agent", "places"),
        *("executions", "wall", "money", "tokens", "tool_calls", "children"),
    )
    list_filter = ("kind", PausedFilter, RoomFilter, TightFilter)
    list_select_related = ("parent", "agent__issue", "agent__repository")
    list_defer = ("agent__summary", "agent__spec", "agent__issue__body")
    search_fields = ("key__exact",)
    search_help_text = (
        "Exactly: fleet, fleet:day:2026-11-28, repository:1, tree:12 or agent:12 (numbers of repositories and agents)"
    )
    ordering = ("id",)
    acts = (
        pause_act("this scope", lambda row: row.key),
        unpause_act("this scope", lambda row: row.key),
        raise_limit_act(lambda row: row.key),
        cancel_act("this scope", lambda row: row.key),
    )
    readonly_fields = [
        *("status", "above", "below", "of_agent", "agents", "places"),
        *("executions", "wall", "money", "tokens", "tool_calls", "children", "tight", "progress", "ledger", "spend"),
    ]
    fields = ["key", "kind", *readonly_fields]

    @admin.display(description="state", ordering="paused_at")
    def status(self, row: Envelope) -> str:
        """Open or paused."""
        return envelope_status(row)

    @admin.display(description="within", ordering="parent")
    def above(self, row: Envelope) -> str:
        """The wider scope."""
        return link("coordinator_envelope", row.parent.pk, row.parent.key) if row.parent else "-"

    @admin.display(description="holds")
    def below(self, row: Envelope) -> str:
        """The narrower scopes."""
        return list_link("coordinator_envelope", "narrower scopes", parent__id__exact=row.pk)

    @admin.display(description="agent")
    def of_agent(self, row: Envelope) -> str:
        """The agent whose own envelope it is."""
        if row.kind != ScopeKind.AGENT:
            return "-"
        agent: Agent | None = getattr(row, "agent", None)
        return link("coordinator_agent", agent.pk, str(agent)) if agent else "-"

    @admin.display(description="agents")
    def agents(self, row: Envelope) -> str:
        """The agents under it."""
        return list_link("coordinator_agent", "agents of this scope", scope=row.key)

    @admin.display(description="live", ordering="live")
    def places(self, row: Envelope) -> str:
        """Runs at this moment."""
        return f"{row.live} of {'any' if row.max_live is None else row.max_live}"

    @admin.display(description="executions", ordering="executions_spent")
    def executions(self, row: Envelope) -> str:
        """Runs used."""
        return used(row.executions_reserved, row.executions_spent, row.executions_limit)

    @admin.display(description="wall time", ordering="wall_spent_seconds")
    def wall(self, row: Envelope) -> str:
        """Time used."""
        return used(row.wall_reserved_seconds, row.wall_spent_seconds, row.wall_limit_seconds, " s")

    @admin.display(description="money for models", ordering="usd_spent_micros")
    def money(self, row: Envelope) -> str:
        """Dollars used; what has no price is told beside."""
        limit = None if row.usd_limit_micros is None else dollars(row.usd_limit_micros)
        words = (
            f"{dollars(row.usd_spent_micros)} spent + {dollars(row.usd_reserved_micros)} reserved of {limit or 'any'}"
        )
        return f"{words}, and {row.unpriced_tokens:,} tokens at unknown price" if row.unpriced_tokens else words

    @admin.display(description="tokens of models", ordering="tokens_spent")
    def tokens(self, row: Envelope) -> str:
        """Tokens used."""
        return used(row.tokens_reserved, row.tokens_spent, row.tokens_limit)

    @admin.display(description="calls of tools", ordering="tool_calls_spent")
    def tool_calls(self, row: Envelope) -> str:
        """Calls used."""
        return used(row.tool_calls_reserved, row.tool_calls_spent, row.tool_calls_limit)

    @admin.display(description="agents below", ordering="children_spent")
    def children(self, row: Envelope) -> str:
        """Agents taken on, at any depth."""
        words = f"{row.children_spent} of {'any' if row.children_limit is None else row.children_limit}"
        return words if row.is_counted else f"{words}; itself waits for room"

    @admin.display(description="nearly spent")
    def tight(self, row: Envelope) -> str:
        """What is nearly spent, and since when."""
        return f"{line(row.warning)} since {row.warned_at:%Y-%m-%d %H:%M}" if row.warned_at else "-"

    @admin.display(description="money since work was accepted")
    def progress(self, row: Envelope) -> str:
        """Of a tree: what it spent since then, and whether it is stopped for that."""
        if row.progress_limit_micros is None:
            return "-"
        since = dollars(row.usd_spent_micros - row.progress_mark_micros)
        words = f"{since} of {dollars(row.progress_limit_micros)}"
        return (
            f"{words}; nothing starts in it since {row.breaker_opened_at:%Y-%m-%d %H:%M}"
            if row.breaker_opened_at
            else words
        )

    @admin.display(description="last model calls")
    def spend(self, row: Envelope) -> str:
        """Movements of money, at most the last 200."""
        return spend_of(row.pk, row.key, limit=LEDGER_ROWS)

    @admin.display(description="last ledger entries")
    def ledger(self, row: Envelope) -> str:
        """Movements, at most the last 200."""
        entries = LedgerEntry.objects.filter(envelope=row).order_by("-pk")[:LEDGER_ROWS]
        cells = (
            (
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                pill(entry.kind),
                entry.executions,
                f"{entry.wall_seconds} s",
                entry.tool_calls,
                run_link(entry.execution_id),
            )
            for entry in entries
        )
        every = list_link("coordinator_ledgerentry", "all entries", q=row.key)
        return format_html(
            "{}{}", every, table(("at", "what", "executions", "wall time", "tool calls", "execution"), cells)
        )


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    """Movements on envelopes, the latest first."""

    list_display = ("id", "at", "kind", "scope", "executions", "wall_seconds", "tool_calls", "run")
    list_filter = ("kind", "envelope__kind")
    list_select_related = ("envelope",)
    search_fields = ("^execution_id", "envelope__key__exact")
    search_help_text = "Start of an execution's id, or exactly a scope (fleet, tree:12)"
    ordering = ("-id",)
    readonly_fields = ("scope", "run")
    fields = ("id", "at", "kind", "scope", "executions", "wall_seconds", "tool_calls", "run")

    @admin.display(description="scope", ordering="envelope__key")
    def scope(self, row: LedgerEntry) -> str:
        """The envelope moved on."""
        return link("coordinator_envelope", row.envelope_id, row.envelope.key)

    @admin.display(description="execution")
    def run(self, row: LedgerEntry) -> str:
        """For which run."""
        return run_link(row.execution_id)
