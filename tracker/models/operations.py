"""The outbox: one row for every write to a tracker."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from tracker import limits
from tracker.models.repositories import Repository
from tracker.public_types import WriteKind


class Operation(models.Model):
    """A write that was wished for; kept for ever, because its key is unique for ever."""

    class Kind(models.TextChoices):
        CREATE_ISSUE = WriteKind.CREATE_ISSUE, "create issue"
        LINK_CHILD = WriteKind.LINK_CHILD, "link child"
        SET_BLOCKERS = WriteKind.SET_BLOCKERS, "set blockers"
        SET_STATE = WriteKind.SET_STATE, "set state"
        UPSERT_COMMENT = WriteKind.UPSERT_COMMENT, "comment"
        CLOSE = WriteKind.CLOSE, "close"
        ASSIGN = WriteKind.ASSIGN, "assign"
        REACT = WriteKind.REACT, "react"
        SET_LABEL = WriteKind.SET_LABEL, "label"
        REOPEN = WriteKind.REOPEN, "reopen"
        OPEN_CHANGE = WriteKind.OPEN_CHANGE, "open pull request"
        MARK_READY = WriteKind.MARK_READY, "mark ready for review"
        EDIT = WriteKind.EDIT, "edit texts"

    class State(models.TextChoices):
        PENDING = "pending", "pending"
        DONE = "done", "done"
        SUPERSEDED = "superseded", "superseded by a later edit"
        FAILED = "failed", "failed for ever"

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="operations")
    key = models.CharField(max_length=limits.NAME_MAX_CHARS, unique=True)
    kind = models.CharField(max_length=32, choices=Kind)
    payload = models.JSONField()
    coalesce = models.CharField(max_length=limits.NAME_MAX_CHARS, blank=True, default="")
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0, help_text="Counted before each call.")
    subject = models.CharField(
        max_length=50,
        blank=True,
        default="",
        help_text="Key of the issue it is about, as far as it existed when wished for.",
    )
    not_before = models.DateTimeField(null=True, blank=True, help_text="Of a failed one: it and those behind it wait.")
    rests_until = models.DateTimeField(null=True, blank=True, help_text="It alone waits; those behind it go first.")
    error = models.TextField(blank=True, default="")
    failed_with = models.CharField(
        max_length=limits.NAME_MAX_CHARS,
        blank=True,
        default="",
        help_text="Key of the write whose failure made it fail.",
    )
    value = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    attempted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in WriteKind]), name="tracker_operation_kind_is_known"
            ),
            models.CheckConstraint(
                condition=Q(state="pending", finished_at__isnull=True)
                | Q(state__in=["done", "superseded", "failed"], finished_at__isnull=False),
                name="tracker_operation_finished_fields_agree",
            ),
        ]
        indexes = [
            models.Index(fields=["repository", "id"], condition=Q(state="pending"), name="tracker_op_pending"),
            models.Index(
                fields=["repository", "coalesce", "id"],
                condition=Q(state="pending") & ~Q(coalesce=""),
                name="tracker_op_coalesce",
            ),
            models.Index(fields=["finished_at"], condition=Q(state="failed"), name="tracker_op_failed"),
            models.Index(fields=["failed_with"], condition=~Q(failed_with=""), name="tracker_op_failed_with"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"
