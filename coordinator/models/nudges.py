"""Requests to look at an agent, each with its recorded answer."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from coordinator.public_types import Answer, Source


class Nudge(models.Model):
    """A request and what became of it. At most one is open for an agent; later ones are coalesced into it."""

    agent = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="nudges")
    source = models.CharField(max_length=16, choices=[(s.value, s.value) for s in Source])
    reason = models.CharField(max_length=500, blank=True)
    is_open = models.BooleanField(default=True)
    """Deferred nudges stay open: they will be decided again."""
    answer = models.CharField(max_length=16, choices=[(a.value, a.value) for a in Answer], blank=True)
    decision = models.JSONField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)
    """When an open nudge is decided again by itself; NULL: when what it waits for happens."""
    execution_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["agent"], condition=Q(is_open=True), name="one_open_nudge_per_agent"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["is_open", "not_before"], name="nudge_due"),
        ]
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"nudge {self.pk} of agent {self.agent_id} by {self.source}: {self.answer or 'open'}"
