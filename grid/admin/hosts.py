"""The machines that run agents, in the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone

from grid.admin.display import line
from grid.conf import conf
from grid.models import Execution, Host
from grid.public_admin import ReadOnlyAdmin, list_link, pill
from grid.public_types import ON_HOST


@admin.register(Host)
class HostAdmin(ReadOnlyAdmin):
    """Machines that run agents."""

    list_display = ("name", "status", "running", "slots", "pid", "heartbeat_at", "started_at", "warning")
    search_fields = ("name",)
    ordering = ("name",)
    readonly_fields = ("status", "running", "warning")
    fields = (
        "name",
        "status",
        "running",
        "slots",
        "pid",
        "boot_id",
        "started_at",
        "heartbeat_at",
        "draining_at",
        "warning",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Hosts with the number of executions they hold a lease on."""
        held = Execution.objects.filter(host=OuterRef("name"), state__in=sorted(ON_HOST)).order_by().values("host")
        count = Subquery(held.annotate(n=Count("pk")).values("n"), output_field=IntegerField())
        rows: QuerySet[Any] = super().get_queryset(request).annotate(live=Coalesce(count, Value(0)))
        return rows

    @admin.display(description="state")
    def status(self, row: Host) -> str:
        """Alive, draining, or not heard of for three heartbeats."""
        if row.heartbeat_at < timezone.now() - timedelta(seconds=3 * conf().heartbeat_seconds):
            return pill("late", "no heartbeat")
        return pill("stopping", "draining") if row.draining_at else pill("running", "alive")

    @admin.display(description="running", ordering="live")
    def running(self, row: Any) -> str:
        """Executions on it."""
        return list_link("grid_execution", str(row.live), on=row.name, group="live")

    @admin.display(description="warning")
    def warning(self, row: Host) -> str:
        """What operators should know."""
        return line(row.note, 500) or "-"
