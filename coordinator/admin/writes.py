"""The outbox of writes to trackers. Trying one again is the coordinator's act, so the page is here."""

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
from grid.public_admin import link, pill


def _retry(row: Any, actor: str, answers: Mapping[str, Any]) -> str:
    public_api.retry_write(row.key, actor=actor)
    return "will be tried again at once"


def _no_agents(rows: Sequence[Any]) -> QuerySet[Agent]:
    """A write changes the tracker; what runs goes on."""
    return Agent.objects.none()


RETRY = Act(
    name="retry_write",
    label="Try again",
    effect="Each of these writes is carried out again, and with it those that failed only because of it. Keys keep a write "
    "that was done after all from being done twice; an edit that a later one has replaced stays away.",
    run=_retry,
    reach=_no_agents,
)


@admin.register(apps.get_model("tracker", "Operation"))
class OperationAdmin(ActingAdmin):
    """Writes, the latest first; the filter `failed for ever` lists what waits for an operator."""

    list_display = ("name", "kind", "status", "attempts", "of", "not_before", "problem", "created_at")
    list_filter = ("state", "kind", "repository")
    list_select_related = ("repository",)
    list_defer = ("payload", "value")
    search_fields = ("=key", "=subject", "=failed_with")
    search_help_text = "Exactly: key, key of the issue, key of the write whose failure made it fail"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    acts = (RETRY,)
    change_form_template = "admin/coordinator/change_form.html"
    readonly_fields = ("name", "status", "of", "problem", "because_of", "payload_json", "value_json")
    fields = (
        *("name", "kind", "of", "subject", "status", "attempts", "problem", "because_of"),
        *("not_before", "rests_until", "created_at", "attempted_at", "finished_at", "payload_json", "value_json"),
    )

    def name_of(self, row: Any) -> str:
        """Its key."""
        return str(row.key)

    @admin.display(description="write", ordering="key")
    def name(self, row: Any) -> str:
        """Its key."""
        return line(row.key)

    @admin.display(description="repository", ordering="repository__scope")
    def of(self, row: Any) -> str:
        """The repository whose tracker it goes to."""
        return link("tracker_repository", row.repository_id, line(row.repository.scope))

    @admin.display(description="state", ordering="state")
    def status(self, row: Any) -> str:
        """Whether it was carried out."""
        return pill(
            {"pending": "waiting", "superseded": "abandoned"}.get(row.state, row.state), row.get_state_display()
        )

    @admin.display(description="what is wrong")
    def problem(self, row: Any) -> str:
        """The error of the last attempt."""
        return line(row.error, 500) or "-"

    @admin.display(description="failed because of")
    def because_of(self, row: Any) -> str:
        """The write whose failure made it fail."""
        return line(row.failed_with) or "-"

    @admin.display(description="payload")
    def payload_json(self, row: Any) -> str:
        """What is to be written."""
        return json_block(row.payload)

    @admin.display(description="answer")
    def value_json(self, row: Any) -> str:
        """What the tracker answered."""
        return json_block(row.value)
