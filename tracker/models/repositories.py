"""Repositories under the grid's care."""

from __future__ import annotations

from django.db import models

from tracker import limits


class Repository(models.Model):
    """A code repository and the place of its issues."""

    class Kind(models.TextChoices):
        LOCAL = "local", "local"
        GITHUB = "github", "GitHub"

    tracker = models.CharField(max_length=16, choices=Kind)
    scope = models.CharField(max_length=limits.NAME_MAX_CHARS, help_text="The tracker's name for it: acme/widgets.")
    source = models.CharField(max_length=1_000, help_text="Path or URL that git clones from.")
    default_branch = models.CharField(max_length=250)
    is_active = models.BooleanField(default=True, help_text="Unset: nothing is listed, started or written.")
    remote_id = models.BigIntegerField(null=True, blank=True, help_text="The tracker's own number; survives renames.")
    installation_id = models.BigIntegerField(null=True, blank=True, help_text="Of our GitHub App on its account.")
    swept_until = models.DateTimeField(
        null=True, blank=True, help_text="Changes before this have been read; the next sweep starts a little earlier."
    )
    swept_at = models.DateTimeField(null=True, blank=True, help_text="When the last sweep ended.")
    backfill = models.JSONField(
        default=dict, blank=True, help_text="How far reading everything has come; a broken one goes on from there."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_number = models.PositiveBigIntegerField(default=0, help_text="Of the local tracker's issues.")
    outbox_token = models.PositiveBigIntegerField(default=0, help_text="Grows with every drainer; fences the old one.")
    outbox_lease_until = models.DateTimeField(null=True, blank=True, help_text="A drainer is at work until then.")

    class Meta:
        verbose_name_plural = "repositories"
        constraints = [
            models.UniqueConstraint(fields=["tracker", "scope"], name="tracker_repository_one_per_scope"),
            models.CheckConstraint(
                condition=models.Q(tracker__in=["local", "github"]), name="tracker_repository_tracker_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.scope
