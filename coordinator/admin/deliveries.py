"""Webhooks as they came in. Taking one up again is the coordinator's act, so the page is here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet

from coordinator import public_api
from coordinator.admin.acts import Act, ActingAdmin
from coordinator.admin.display import json_block, line
from coordinator.models import Agent
from grid.public_admin import pill


def _replay(row: Any, actor: str, answers: Mapping[str, Any]) -> str:
    public_api.replay_delivery(row.pk, actor=actor)
    return "taken up again at once"


def _no_agents(rows: Sequence[Any]) -> QuerySet[Agent]:
    """Nobody can say beforehand: a webhook only tells where to look."""
    return Agent.objects.none()


REPLAY = Act(
    name="replay",
    label="Replay",
    effect="Looks again where these webhooks point, at what GitHub shows now. Nothing happens twice; what was missed is "
    "taken up.",
    run=_replay,
    reach=_no_agents,
)


@admin.register(apps.get_model("tracker", "Delivery"))
class DeliveryAdmin(ActingAdmin):
    """Deliveries, the latest first; the filter `failed for ever` lists what waits for an operator."""

    list_display = ("guid", "what", "of", "sender", "status", "attempts", "problem", "received_at")
    list_filter = ("state", "event")
    list_defer = ("payload",)
    search_fields = ("=guid", "=scope", "=sender")
    search_help_text = "Exactly: X-GitHub-Delivery, repository or sender"
    date_hierarchy = "received_at"
    ordering = ("-id",)
    acts = (REPLAY,)
    change_form_template = "admin/coordinator/change_form.html"
    readonly_fields = ("what", "of", "status", "problem", "payload_json")
    fields = (
        *("guid", "what", "of", "sender", "status", "attempts", "not_before"),
        *("problem", "received_at", "finished_at", "payload_json"),
    )

    @admin.display(description="event", ordering="event")
    def what(self, row: Any) -> str:
        """Event and action."""
        return line(f"{row.event} {row.action}".strip())

    @admin.display(description="about", ordering="scope")
    def of(self, row: Any) -> str:
        """The issue or pull request, else the repository."""
        return line(f"{row.scope}#{row.key}" if row.key else row.scope) or "-"

    @admin.display(description="state", ordering="state")
    def status(self, row: Any) -> str:
        """Whether it was taken up."""
        return pill({"received": "waiting", "ignored": "abandoned"}.get(row.state, row.state), row.get_state_display())

    @admin.display(description="what is wrong")
    def problem(self, row: Any) -> str:
        """The error of the last attempt."""
        return line(row.error, 500) or "-"

    @admin.display(description="payload")
    def payload_json(self, row: Any) -> str:
        """As sent."""
        return json_block(row.payload)
