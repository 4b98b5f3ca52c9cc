"""The event log: append-only rows, numbered without a gap on each stream."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Event(models.Model):
    """One thing that happened. On PostgreSQL a column `xid` (see the migration) orders rows by commit safety."""

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=64)
    seq = models.PositiveIntegerField()
    root = models.CharField(max_length=200)
    kind = models.CharField(max_length=40)
    at = models.DateTimeField(db_default=Now())
    v = models.PositiveSmallIntegerField(db_default=1)
    """Version of the body's schema, as `grid.events.catalogue` counts them."""
    body = models.JSONField(default=dict)
    rows = models.JSONField(null=True, blank=True)
    """Rows of state tables that this event made or changed (`grid.events.rows`); for replay, shown to nobody."""

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["stream", "seq"], name="event_seq_once_per_stream")]
        indexes: ClassVar = [
            models.Index(fields=["kind", "id"], name="event_by_kind"),
            models.Index(fields=["root", "id"], name="event_of_root"),
        ]
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.stream} {self.seq} {self.kind}"


class EventStream(models.Model):
    """The last number given on a stream that is not an execution's (those count in their own row)."""

    name = models.CharField(max_length=64, primary_key=True)
    root = models.CharField(max_length=200)
    seq = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name} at {self.seq}"


class EventCursor(models.Model):
    """How far a consumer has read."""

    name = models.CharField(max_length=64, primary_key=True)
    xid = models.BigIntegerField(default=0)
    event_id = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.name} at {self.event_id}"
