"""Issues and how they hang together."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from tracker import limits
from tracker.models.repositories import Repository
from tracker.public_types import AgentState, CloseReason


class Issue(models.Model):
    """One issue. Labels that show a state are not rows: `agent_state` is the one truth for them."""

    class State(models.TextChoices):
        NONE = AgentState.NONE, "none"
        READY = AgentState.READY, "ready"
        RUNNING = AgentState.RUNNING, "running"
        WAITING = AgentState.WAITING, "waiting"
        REVIEW = AgentState.REVIEW, "review"
        BLOCKED = AgentState.BLOCKED, "blocked"
        FAILED = AgentState.FAILED, "failed"

    class Reason(models.TextChoices):
        COMPLETED = CloseReason.COMPLETED, "completed"
        NOT_PLANNED = CloseReason.NOT_PLANNED, "not planned"

    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="issues")
    key = models.CharField(max_length=50, help_text="The tracker's name for it within the repository: 12.")
    title = models.CharField(max_length=limits.TITLE_MAX_CHARS)
    body = models.TextField(blank=True)
    is_open = models.BooleanField(default=True)
    close_reason = models.CharField(max_length=16, choices=Reason, blank=True, default="")
    author = models.CharField(max_length=limits.PERSON_MAX_CHARS)
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    position = models.PositiveIntegerField(default=0, help_text="Among its siblings.")
    agent_state = models.CharField(max_length=16, choices=State, blank=True, default=AgentState.NONE)
    dedupe_key = models.CharField(
        max_length=limits.NAME_MAX_CHARS + 20, blank=True, default="", help_text="Creating with it again finds this."
    )
    remote_id = models.BigIntegerField(
        null=True, blank=True, help_text="The tracker's own number for it, unlike its key."
    )
    url = models.CharField(max_length=500, blank=True, default="")
    author_trust = models.CharField(
        max_length=8, blank=True, default="", help_text="What its author might do when it was read."
    )
    synced_at = models.DateTimeField(null=True, blank=True, help_text="When it was last read whole from its tracker.")
    written_at = models.DateTimeField(
        null=True, blank=True, help_text="When we last wrote to it; reads begun before may not show that."
    )
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "key"], name="tracker_issue_one_per_key"),
            models.UniqueConstraint(
                fields=["repository", "remote_id"],
                condition=Q(remote_id__isnull=False),
                name="tracker_issue_one_per_remote_id",
            ),
            models.UniqueConstraint(
                fields=["repository", "dedupe_key"],
                condition=~Q(dedupe_key=""),
                name="tracker_issue_one_per_dedupe_key",
            ),
            models.CheckConstraint(
                condition=Q(agent_state__in=[state.value for state in AgentState]),
                name="tracker_issue_agent_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(is_open=True, close_reason="", closed_at__isnull=True)
                | Q(
                    is_open=False,
                    close_reason__in=["", *(reason.value for reason in CloseReason)],
                    closed_at__isnull=False,
                ),
                name="tracker_issue_closed_fields_agree",
            ),
            models.CheckConstraint(condition=~Q(parent=F("id")), name="tracker_issue_not_its_own_parent"),
        ]
        indexes = [
            models.Index(fields=["repository", "updated_at", "id"], name="tracker_issue_changed"),
            models.Index(fields=["parent", "position", "id"], name="tracker_issue_children"),
        ]

    def __str__(self) -> str:
        return f"#{self.key} {self.title}"


class IssueLabel(models.Model):
    """A label that shows no state, `agent:hold` included."""

    issue = models.ForeignKey(Issue, on_delete=models.CASCADE, related_name="labels")
    name = models.CharField(max_length=limits.LABEL_MAX_CHARS)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issue", "name"], name="tracker_label_once_per_issue")]

    def __str__(self) -> str:
        return self.name


class IssueAssignee(models.Model):
    """Somebody assigned; a person (`is_ours` false) has taken the issue over from us."""

    issue = models.ForeignKey(Issue, on_delete=models.CASCADE, related_name="assignees")
    login = models.CharField(max_length=limits.PERSON_MAX_CHARS)
    is_ours = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issue", "login"], name="tracker_assignee_once_per_issue")]

    def __str__(self) -> str:
        return self.login


class Dependency(models.Model):
    """`issue` waits for `blocker`."""

    issue = models.ForeignKey(Issue, on_delete=models.CASCADE, related_name="blocker_links")
    blocker = models.ForeignKey(Issue, on_delete=models.CASCADE, related_name="waiting_links")

    class Meta:
        verbose_name_plural = "dependencies"
        constraints = [
            models.UniqueConstraint(fields=["issue", "blocker"], name="tracker_dependency_once"),
            models.CheckConstraint(condition=~Q(issue=F("blocker")), name="tracker_dependency_not_on_itself"),
        ]

    def __str__(self) -> str:
        return f"issue {self.issue_id} waits for {self.blocker_id}"
