"""Envelopes and their ledger: what each scope may use, holds in reserve and has used."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from coordinator.public_types import ScopeKind

NOT_NEGATIVE = (
    Q(live__gte=0)
    & Q(executions_reserved__gte=0)
    & Q(executions_spent__gte=0)
    & Q(wall_reserved_seconds__gte=0)
    & Q(wall_spent_seconds__gte=0)
    & Q(usd_reserved_micros__gte=0)
    & Q(usd_spent_micros__gte=0)
    & Q(tokens_reserved__gte=0)
    & Q(tokens_spent__gte=0)
    & Q(tool_calls_reserved__gte=0)
    & Q(tool_calls_spent__gte=0)
    & Q(children_spent__gte=0)
)


class Envelope(models.Model):
    """One level of the path fleet → repository → tree → root agent → … → agent. A limit of NULL means none at this level.

    Beside the path stand the days of fleet and repository: `fleet:day:2026-11-28` is a level like any other, for one day.

    Pause, concurrency and money share the row on purpose: a launch passes all three gates of a level in one
    conditional UPDATE, so a pause that commits first is never overtaken.
    """

    key = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in ScopeKind])
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    ancestors = models.CharField(max_length=500, blank=True, db_index=True)
    """Ids of the envelopes above it, the fleet's first, each with a `/` behind it: the whole path in one read."""
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=150, blank=True)
    rest_until = models.DateTimeField(null=True, blank=True)
    """Of the fleet's: its breaker is open until then, see `coordinator.rules.breaker`."""
    live = models.IntegerField(default=0)
    """Executions launched and not settled."""
    max_live = models.PositiveIntegerField(null=True, blank=True)
    executions_limit = models.PositiveIntegerField(null=True, blank=True)
    executions_reserved = models.IntegerField(default=0)
    executions_spent = models.IntegerField(default=0)
    wall_limit_seconds = models.PositiveBigIntegerField(null=True, blank=True)
    wall_reserved_seconds = models.BigIntegerField(default=0)
    wall_spent_seconds = models.BigIntegerField(default=0)
    usd_limit_micros = models.BigIntegerField(null=True, blank=True)
    """Money for models, in millionths of a US dollar; so are the two below."""
    usd_reserved_micros = models.BigIntegerField(default=0)
    usd_spent_micros = models.BigIntegerField(default=0)
    tokens_limit = models.BigIntegerField(null=True, blank=True)
    """Tokens read and written by models, cached ones included."""
    tokens_reserved = models.BigIntegerField(default=0)
    tokens_spent = models.BigIntegerField(default=0)
    unpriced_tokens = models.BigIntegerField(default=0)
    """Of the tokens spent, those of models whose price nobody knows: they are no free ones."""
    tool_calls_limit = models.BigIntegerField(null=True, blank=True)
    tool_calls_reserved = models.BigIntegerField(default=0)
    tool_calls_spent = models.BigIntegerField(default=0)
    children_limit = models.PositiveIntegerField(null=True, blank=True)
    """Agents taken on below it, at any depth."""
    children_spent = models.IntegerField(default=0)
    is_counted = models.BooleanField(default=True)
    """Of an agent's: it counts among the children of every level above. False: there was no room, and it may not run."""
    warned_at = models.DateTimeField(null=True, blank=True)
    """When most of one of its limits was spent; once, and again after a raise."""
    warning = models.CharField(max_length=200, blank=True)
    """Which limit that was, in words."""
    warning_told_at = models.DateTimeField(null=True, blank=True)
    """When its agent and the one above were told of it."""
    progress_limit_micros = models.BigIntegerField(null=True, blank=True)
    """Of a tree: the money it may spend without work that is accepted, see `coordinator.rules.breaker`."""
    progress_mark_micros = models.BigIntegerField(default=0)
    """What it had spent when work was accepted last, or a person looked."""
    breaker_opened_at = models.DateTimeField(null=True, blank=True)
    """Of a tree: nothing is started in it since then, because money went and no work came."""

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=NOT_NEGATIVE, name="envelope_not_negative")]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return self.key

    @property
    def path_ids(self) -> list[int]:
        """Ids of the envelopes from the fleet down to this one."""
        return [*(int(part) for part in self.ancestors.split("/") if part), self.pk]

    @property
    def lineage(self) -> str:
        """How `ancestors` of everything below it begins."""
        return f"{self.ancestors}{self.pk}/"


class LedgerEntry(models.Model):
    """One movement on one envelope for one execution; append-only."""

    class Kind(models.TextChoices):
        """Every execution has one `reserve` on each envelope of its path, and one `settle` once it has ended."""

        RESERVE = "reserve"
        SETTLE = "settle"

    # No index of its own: each of a launch's entries would be on another page of it (docs/decisions/0019).
    envelope = models.ForeignKey(Envelope, on_delete=models.PROTECT, related_name="entries", db_index=False)
    execution_id = models.UUIDField()
    kind = models.CharField(max_length=8, choices=Kind.choices)
    executions = models.PositiveIntegerField()
    wall_seconds = models.PositiveBigIntegerField()
    tool_calls = models.PositiveBigIntegerField(default=0)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "ledger entries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["execution_id", "envelope", "kind"], name="ledger_entry_once"),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind} {self.executions} / {self.wall_seconds} s on {self.envelope_id}"


class SpendEntry(models.Model):
    """One movement on one envelope for one model call; append-only."""

    class Kind(models.TextChoices):
        """Every admitted call has one `reserve` on each envelope of its path, and one `settle` once its cost is known."""

        RESERVE = "reserve"
        SETTLE = "settle"

    envelope = models.ForeignKey(Envelope, on_delete=models.PROTECT, related_name="spend_entries", db_index=False)
    call_id = models.UUIDField()
    """Of a `ModelCall`."""
    kind = models.CharField(max_length=8, choices=Kind.choices)
    usd_micros = models.BigIntegerField()
    tokens = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "spend entries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["call_id", "envelope", "kind"], name="spend_entry_once"),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind} {self.usd_micros} / {self.tokens} tokens on {self.envelope_id}"
