"""What people and checks said about an agent's pull request."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Feedback(models.Model):
    """One thing said; it causes at most one rework, however often we hear of it."""

    agent = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="feedback")
    tracker_id = models.CharField(max_length=200)
    """The tracker's name for it: `review_comment:7000000123`, `check:NAME:HEAD_SHA`."""
    kind = models.CharField(max_length=16)
    author = models.CharField(max_length=100)
    text = models.TextField(blank=True)
    path = models.CharField(max_length=1000, blank=True)
    line = models.PositiveIntegerField(null=True, blank=True)
    head_sha = models.CharField(max_length=64, blank=True)
    execution_id = models.UUIDField(null=True, blank=True)
    """The run whose prompt carried it; NULL while it waits."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "feedback"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["agent", "tracker_id"], name="feedback_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["agent", "execution_id"], name="feedback_waiting")]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind} by {self.author}"
