"""Commands that people gave in comments."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Command(models.Model):
    """A comment whose commands were carried out; it acts once, however often we hear of it."""

    repository = models.ForeignKey("tracker.Repository", on_delete=models.CASCADE, related_name="+")
    comment_id = models.CharField(max_length=50)
    """The tracker's own number for it."""
    issue_key = models.CharField(max_length=50)
    author = models.CharField(max_length=100)
    verbs = models.CharField(max_length=200)
    answer = models.TextField(blank=True)
    """What we said to it, in Markdown; empty when the reaction said it all."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["repository", "comment_id"], name="command_acts_once"),
        ]
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"{self.verbs} by {self.author}"
