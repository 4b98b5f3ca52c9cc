"""The event log in the admin, its streams and its readers."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from grid.admin.display import json_block, line, shown
from grid.models import Event, EventCursor, EventStream
from grid.public_admin import ReadOnlyAdmin, link, list_link, plain, table

TIMELINE_ROWS = 200


def timeline(stream: str) -> str:
    """The last events of a stream, oldest first."""
    rows = list(Event.objects.filter(stream=stream).defer("rows").order_by("-seq")[:TIMELINE_ROWS])[::-1]
    cells = (
        (
            link("grid_event", row.pk, str(row.seq)),
            f"{row.at:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            shown(row.kind),
            line(plain(row.body), 400),
        )
        for row in rows
    )
    every = list_link("grid_event", "all events", q=stream)
    return format_html("{}{}", every, table(("no.", "at", "kind", "what"), cells))


def subject_link(key: str) -> str:
    """The coordinator's page for an opaque key (`issue:12`, `tree:3`, `agent:5`) of whoever asked for the run."""
    return list_link("coordinator_agent", shown(key), q=key)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The event log, the latest first."""

    list_display = ("id", "of_stream", "seq", "kind", "at", "what")
    search_fields = ("stream__exact", "root__exact", "kind__exact")
    search_help_text = "Exactly: stream (execution:…, agent:5), root (tree:3) or kind"
    ordering = ("-id",)
    readonly_fields = ("of_stream", "of_root", "body_json", "rows_json")
    fields = ("id", "of_stream", "seq", "of_root", "kind", "v", "at", "body_json", "rows_json")

    @admin.display(description="stream", ordering="stream")
    def of_stream(self, row: Event) -> str:
        """Its stream's events, and what the stream is of."""
        owner, _, key = row.stream.partition(":")
        other = link("grid_execution", key, "execution") if owner == "execution" else subject_link(row.stream)
        return format_html("{} · {}", list_link("grid_event", shown(row.stream), q=row.stream), other)

    @admin.display(description="root")
    def of_root(self, row: Event) -> str:
        """The events of its whole tree."""
        return list_link("grid_event", shown(row.root), q=row.root)

    @admin.display(description="what")
    def what(self, row: Event) -> str:
        """Body on one line."""
        return line(plain(row.body), 200)

    @admin.display(description="body")
    def body_json(self, row: Event) -> str:
        """Whole body."""
        return json_block(row.body)

    @admin.display(description="rows that it made or changed")
    def rows_json(self, row: Event) -> str:
        """What a replay builds from it."""
        return json_block(row.rows) if row.rows else "-"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """Without the rows, which a list has no use for; a page of one event reads them."""
        return super().get_queryset(request).defer("rows")


@admin.register(EventStream)
class EventStreamAdmin(ReadOnlyAdmin):
    """Streams that are not an execution's."""

    list_display = ("name", "root", "seq", "events")
    search_fields = ("name__exact", "root__exact")
    search_help_text = "Exactly: name (agent:5) or root (tree:3)"
    ordering = ("name",)
    readonly_fields = ("events", "timeline")

    @admin.display(description="events")
    def events(self, row: EventStream) -> str:
        """Its events."""
        return list_link("grid_event", "events", q=row.name)

    @admin.display(description="last events")
    def timeline(self, row: EventStream) -> str:
        """What happened, at most the last 200 events."""
        return timeline(row.name)


@admin.register(EventCursor)
class EventCursorAdmin(ReadOnlyAdmin):
    """How far each consumer of the log has read."""

    list_display = ("name", "xid", "event_id", "updated_at")
    ordering = ("name",)
