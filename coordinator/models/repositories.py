"""What the coordinator knows about a repository beyond its tracker: policy and the head of its default branch."""

from __future__ import annotations

from django.db import models


class RepositoryPolicy(models.Model):
    """The last good `.agentgrid.yml` of a repository, and what is wrong with the present one."""

    repository = models.OneToOneField("tracker.Repository", on_delete=models.CASCADE, related_name="+")
    head = models.CharField(max_length=40, blank=True)
    """Commit of the default branch when it was last fetched."""
    policy = models.JSONField(null=True, blank=True)
    policy_commit = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    """Why the present file, or the fetch, was not good; empty when all is well."""
    refreshed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "repository policies"

    def __str__(self) -> str:
        return f"policy of repository {self.repository_id}"
