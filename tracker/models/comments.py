"""Comments and reactions."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from tracker import limits
from tracker.models.issues import Issue


class Comment(models.Model):
    """A comment; one with a slot is ours and edited in place."""

    issue = models.ForeignKey(Issue, on_delete=models.CASCADE, related_name="comments")
    author = models.CharField(max_length=limits.PERSON_MAX_CHARS)
    is_ours = models.BooleanField(default=False)
    slot = models.CharField(max_length=40, blank=True, default="")
    body = models.TextField(blank=True)
    data = models.JSONField(default=dict, blank=True, help_text="Facts behind the text of a comment of ours.")
    remote_id = models.BigIntegerField(null=True, blank=True, help_text="The tracker's own number for it.")
    author_trust = models.CharField(
        max_length=8, blank=True, default="", help_text="What its author might do when it was read."
    )
    created_at = models.DateTimeField()
    edited_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["issue", "remote_id"],
                condition=Q(remote_id__isnull=False),
                name="tracker_comment_one_per_remote_id",
            ),
            models.UniqueConstraint(
                fields=["issue", "slot"], condition=~Q(slot=""), name="tracker_comment_one_per_slot"
            ),
            models.CheckConstraint(condition=Q(slot="") | Q(is_ours=True), name="tracker_comment_slots_are_ours"),
        ]
        indexes = [models.Index(fields=["issue", "created_at", "id"], name="tracker_comment_of_issue")]

    def __str__(self) -> str:
        return f"comment {self.pk} by {self.author}"


class Reaction(models.Model):
    """Our reaction to an issue or to one of its comments."""

    issue = models.ForeignKey(Issue, on_delete=models.CASCADE, related_name="reactions")
    comment = models.ForeignKey(Comment, on_delete=models.CASCADE, null=True, blank=True, related_name="reactions")
    kind = models.CharField(max_length=16, choices=[(kind, kind) for kind in limits.REACTIONS])

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["issue", "kind"], condition=Q(comment=None), name="tracker_reaction_once_per_issue"
            ),
            models.UniqueConstraint(
                fields=["comment", "kind"], condition=~Q(comment=None), name="tracker_reaction_once_per_comment"
            ),
            models.CheckConstraint(condition=Q(kind__in=limits.REACTIONS), name="tracker_reaction_kind_is_known"),
        ]

    def __str__(self) -> str:
        return self.kind
