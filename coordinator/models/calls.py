"""Calls of models through our gateway: what was set aside for each, and what it cost."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ModelCall(models.Model):
    """One request of one execution to a provider. A refused one holds no reservation."""

    class State(models.TextChoices):
        """`reserved` becomes `settled`, also when its caller dies; `refused` never was admitted."""

        RESERVED = "reserved"
        SETTLED = "settled"
        REFUSED = "refused"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey("coordinator.Agent", on_delete=models.PROTECT, related_name="model_calls")
    execution_id = models.UUIDField()
    owner = models.UUIDField(null=True, blank=True)
    """The `GatewayProcess` that carries it: when that one is dead, nobody else will settle it."""
    provider = models.CharField(max_length=20)
    model = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=State.choices)
    reserved_usd_micros = models.BigIntegerField(default=0)
    reserved_tokens = models.BigIntegerField(default=0)
    usd_micros = models.BigIntegerField(null=True, blank=True)
    """What it cost, in millionths of a US dollar; NULL: not settled, or the model has no price."""
    input_tokens = models.BigIntegerField(default=0)
    """Cached ones included, with every provider."""
    output_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    is_estimated = models.BooleanField(default=False)
    """The provider told no usage (broken stream, dead caller): settled at what had been set aside. Or nobody knows its price:
    settled at the dearest one of its provider."""
    status_code = models.PositiveIntegerField(null=True, blank=True)
    """The provider's HTTP status; NULL when it was not asked."""
    reason = models.CharField(max_length=300, blank=True)
    """Why it was refused, or what went wrong."""
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=["reserved", "settled", "refused"]), name="model_call_state_is_known"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["execution_id", "started_at"], name="model_call_of_execution"),
            models.Index(fields=["state", "started_at"], name="model_call_by_state"),
        ]
        ordering: ClassVar = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.provider} {self.model} {self.state}"


class GatewayProcess(models.Model):
    """A process that carries model calls, as long as it says that it lives."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "gateway processes"
        ordering: ClassVar = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.pid} on {self.host}"
