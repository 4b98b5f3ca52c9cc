"""Model calls and what they cost in the admin; read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html

from coordinator.admin.display import line
from coordinator.admin.links import agent_link, run_link
from coordinator.models import GatewayProcess, ModelCall, SpendEntry
from grid.public_admin import ReadOnlyAdmin, link, list_link, pill, table


def dollars(micros: int | None) -> str:
    """A sum as people write it; a dash where nobody knows the price."""
    return "-" if micros is None else f"${micros / 1_000_000:,.4f}"


class PriceFilter(admin.SimpleListFilter):
    """Calls by how well their cost is known."""

    title = "cost"
    parameter_name = "cost"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """What deserves a look."""
        return [("unknown", "price unknown"), ("estimated", "estimated"), ("metered", "metered")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Settled ones only: before, nobody knows."""
        settled = queryset.filter(state=ModelCall.State.SETTLED)
        match self.value():
            case "unknown":
                return settled.filter(usd_micros=None)
            case "estimated":
                return settled.filter(is_estimated=True)
            case "metered":
                return settled.filter(is_estimated=False)
        return queryset


@admin.register(GatewayProcess)
class GatewayProcessAdmin(ReadOnlyAdmin):
    """Processes that carry model calls, and when each last said that it lives."""

    list_display = ("id", "host", "pid", "started_at", "heartbeat_at")
    ordering = ("-started_at",)
    readonly_fields = ("carries",)
    fields = ("id", "host", "pid", "started_at", "heartbeat_at", "carries")

    @admin.display(description="calls under way")
    def carries(self, row: GatewayProcess) -> int:
        """How many calls would be settled if it died now."""
        return ModelCall.objects.filter(owner=row.pk, state=ModelCall.State.RESERVED).count()


@admin.register(ModelCall)
class ModelCallAdmin(ReadOnlyAdmin):
    """Calls of models through the gateway, the latest first."""

    list_display = ("started_at", "status", "provider", "model_name", "of", "run", "tokens", "cost", "http")
    list_display_links = ("started_at",)
    list_filter = ("state", PriceFilter, "provider")
    list_select_related = ("agent__issue",)
    list_defer = ("agent__spec", "agent__summary", "agent__issue__body")
    search_fields = ("^execution_id", "model__exact", "agent__path__exact")
    search_help_text = "Start of an execution's id, exactly a model, or exactly a path"
    date_hierarchy = "started_at"
    ordering = ("-started_at",)
    readonly_fields = ("status", "model_name", "of", "run", "tokens", "cost", "held", "why", "entries")
    fields = [
        *("id", "status", "provider", "model_name", "of", "run", "started_at", "ended_at"),
        *("status_code", "why", "held", "cost", "tokens", "is_estimated", "entries"),
    ]

    def get_queryset(self, request: Any) -> QuerySet[ModelCall]:
        """With what a page of one call shows."""
        return super().get_queryset(request).select_related("agent__issue")

    @admin.display(description="state", ordering="state")
    def status(self, row: ModelCall) -> str:
        """Under way, settled or refused."""
        return pill(row.state)

    @admin.display(description="model", ordering="model")
    def model_name(self, row: ModelCall) -> str:
        """As the agent named it."""
        return line(row.model) or "-"

    @admin.display(description="agent", ordering="agent")
    def of(self, row: ModelCall) -> str:
        """Whose call it was."""
        return agent_link(row.agent, title=60)

    @admin.display(description="execution")
    def run(self, row: ModelCall) -> str:
        """In which run."""
        return run_link(row.execution_id)

    @admin.display(description="tokens in / out (of the former: cached, written to the cache)")
    def tokens(self, row: ModelCall) -> str:
        """What was read and written."""
        cache = f" ({row.cache_read_tokens:,}, {row.cache_write_tokens:,})" if row.cache_read_tokens else ""
        return f"{row.input_tokens:,} / {row.output_tokens:,}{cache}"

    @admin.display(description="cost", ordering="usd_micros")
    def cost(self, row: ModelCall) -> str:
        """What it cost, and whether that is certain."""
        if row.state != ModelCall.State.SETTLED:
            return "-"
        if row.usd_micros is None:
            return "unknown"
        return dollars(row.usd_micros) + (" (estimated)" if row.is_estimated else "")

    @admin.display(description="set aside")
    def held(self, row: ModelCall) -> str:
        """Before it was made."""
        return f"{dollars(row.reserved_usd_micros)}, {row.reserved_tokens:,} tokens"

    @admin.display(description="status", ordering="status_code")
    def http(self, row: ModelCall) -> str:
        """The provider's answer, or why there is none."""
        return str(row.status_code or "") or line(row.reason, 80) or "-"

    @admin.display(description="reason")
    def why(self, row: ModelCall) -> str:
        """Why it was refused, or what went wrong."""
        return line(row.reason, 300) or "-"

    @admin.display(description="ledger")
    def entries(self, row: ModelCall) -> str:
        """What it moved on each level."""
        rows = SpendEntry.objects.filter(call_id=row.pk).select_related("envelope").order_by("pk")
        cells = (
            (
                pill(entry.kind),
                link("coordinator_envelope", entry.envelope_id, entry.envelope.key),
                dollars(entry.usd_micros),
                f"{entry.tokens:,}",
            )
            for entry in rows
        )
        return table(("what", "scope", "money", "tokens"), cells)


@admin.register(SpendEntry)
class SpendEntryAdmin(ReadOnlyAdmin):
    """Movements of money and tokens on envelopes, the latest first."""

    list_display = ("id", "at", "kind", "scope", "money", "tokens", "call")
    list_filter = ("kind", "envelope__kind")
    list_select_related = ("envelope",)
    search_fields = ("^call_id", "envelope__key__exact")
    search_help_text = "Start of a call's id, or exactly a scope (fleet, tree:12)"
    ordering = ("-id",)
    readonly_fields = ("scope", "money", "call")
    fields = ("id", "at", "kind", "scope", "money", "tokens", "call")

    @admin.display(description="scope", ordering="envelope__key")
    def scope(self, row: SpendEntry) -> str:
        """The envelope moved on."""
        return link("coordinator_envelope", row.envelope_id, row.envelope.key)

    @admin.display(description="money", ordering="usd_micros")
    def money(self, row: SpendEntry) -> str:
        """In dollars."""
        return dollars(row.usd_micros)

    @admin.display(description="call")
    def call(self, row: SpendEntry) -> str:
        """For which model call."""
        return link("coordinator_modelcall", row.call_id, str(row.call_id)[:8])


def spend_of(envelope_id: int, key: str, *, limit: int) -> str:
    """The last movements of money on an envelope, and where all of them are."""
    entries = SpendEntry.objects.filter(envelope_id=envelope_id).order_by("-pk")[:limit]
    cells = (
        (
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            pill(entry.kind),
            dollars(entry.usd_micros),
            f"{entry.tokens:,}",
            link("coordinator_modelcall", entry.call_id, str(entry.call_id)[:8]),
        )
        for entry in entries
    )
    every = list_link("coordinator_spendentry", "all entries", q=key)
    return format_html("{}{}", every, table(("at", "what", "money", "tokens", "model call"), cells))
