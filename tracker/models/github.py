"""What only GitHub has: deliveries, installations, people's rights, quotas, pull requests."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from tracker import limits
from tracker.models.repositories import Repository
from tracker.public_types import ChecksState, Trust


class Delivery(models.Model):
    """A webhook as it came in: stored before it is answered, taken up by a task afterwards."""

    class State(models.TextChoices):
        RECEIVED = "received", "received"
        DONE = "done", "done"
        IGNORED = "ignored", "ignored"
        FAILED = "failed", "failed for ever"

    guid = models.CharField(max_length=100, unique=True, help_text="X-GitHub-Delivery; the same on a redelivery.")
    event = models.CharField(max_length=60)
    action = models.CharField(max_length=60, blank=True, default="")
    scope = models.CharField(max_length=limits.NAME_MAX_CHARS, blank=True, default="")
    key = models.CharField(max_length=50, blank=True, default="", help_text="Issue or pull request.")
    sender = models.CharField(max_length=limits.PERSON_MAX_CHARS, blank=True, default="")
    payload = models.JSONField(help_text="As sent.")
    state = models.CharField(max_length=16, choices=State, default=State.RECEIVED)
    attempts = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, default="")
    received_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(state="received", finished_at__isnull=True)
                | Q(state__in=["done", "ignored", "failed"], finished_at__isnull=False),
                name="tracker_delivery_finished_fields_agree",
            ),
        ]
        indexes = [
            models.Index(fields=["received_at"], name="tracker_delivery_by_age"),
            models.Index(fields=["id"], condition=Q(state="received"), name="tracker_delivery_open"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.guid}"


class Installation(models.Model):
    """Our GitHub App on one account."""

    installation_id = models.BigIntegerField(unique=True)
    account = models.CharField(max_length=limits.PERSON_MAX_CHARS)
    is_suspended = models.BooleanField(default=False)
    is_deleted = models.BooleanField(default=False)
    permissions = models.JSONField(default=dict, blank=True)
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"installation {self.installation_id} on {self.account}"


class Permission(models.Model):
    """What a person may do in a repository, as last looked up; old rows are looked up again."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="permissions")
    login = models.CharField(max_length=limits.PERSON_MAX_CHARS)
    trust = models.CharField(max_length=8, choices=[(trust.value, trust.value) for trust in Trust])
    checked_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "login"], name="tracker_permission_one_per_login")]

    def __str__(self) -> str:
        return f"{self.login}: {self.trust}"


class Quota(models.Model):
    """What an account of ours may still ask of GitHub; every process writes down what the last answer said."""

    account = models.CharField(max_length=100, unique=True, help_text="`installation:12` or `token:agent-bot`.")
    limit = models.PositiveIntegerField(default=5_000)
    remaining = models.IntegerField(default=5_000)
    reset_at = models.DateTimeField(null=True, blank=True)
    blocked_until = models.DateTimeField(null=True, blank=True, help_text="A limit was hit: nothing is sent before.")
    minute_at = models.DateTimeField(null=True, blank=True)
    minute_writes = models.PositiveIntegerField(default=0, help_text="Content writes since minute_at.")
    hour_at = models.DateTimeField(null=True, blank=True)
    hour_writes = models.PositiveIntegerField(default=0, help_text="Content writes since hour_at.")
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.account}: {self.remaining} of {self.limit}"


class Change(models.Model):
    """A pull request, as last read."""

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="changes")
    key = models.CharField(max_length=50, help_text="Its number.")
    remote_id = models.BigIntegerField()
    title = models.CharField(max_length=limits.TITLE_MAX_CHARS)
    head_branch = models.CharField(max_length=250)
    head_sha = models.CharField(max_length=64)
    base_branch = models.CharField(max_length=250)
    is_open = models.BooleanField(default=True)
    is_merged = models.BooleanField(default=False)
    is_draft = models.BooleanField(default=True)
    is_ours = models.BooleanField(default=False, help_text="Opened by us from a branch of the repository itself.")
    url = models.CharField(max_length=500, blank=True, default="")
    checks = models.CharField(
        max_length=8,
        blank=True,
        default=ChecksState.NONE,
        choices=[(state.value, state.value) for state in ChecksState],
    )
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "key"], name="tracker_change_one_per_key")]
        indexes = [models.Index(fields=["repository", "head_branch"], name="tracker_change_of_branch")]

    def __str__(self) -> str:
        return f"#{self.key} {self.title}"


class Creation(models.Model):
    """Something that is being created on a tracker. It goes when the answer is stored.

    One that is still there before a creation means that an answer was lost: look for the thing, then create it.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="creations")
    name = models.CharField(max_length=limits.NAME_MAX_CHARS + 100, help_text="`issue:KEY`, `comment:NUMBER:SLOT`.")
    since = models.DateTimeField(help_text="When it was tried first.")
    attempted_at = models.DateTimeField(help_text="When it was tried last.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="tracker_creation_one_per_name")]

    def __str__(self) -> str:
        return self.name
