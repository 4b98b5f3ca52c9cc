"""What the mirror says about issues that an agent had: enough to make the agents again after the database was lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from tracker.github import parts
from tracker.models import Change, Comment, Issue
from tracker.public_types import AgentState, CloseReason, Trust
from tracker.sync import registry

STATUS = "status"
"""Slot of the comment that tells an agent's attempts and branch; its signature was checked when it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardIssue:
    """One issue and what is left of its agent."""

    issue_id: int
    key: str
    parent_id: int | None
    is_open: bool
    is_completed: bool
    """Closed as done; an open one is not."""
    state: AgentState
    """Shown by its label."""
    is_ours: bool
    """We opened it, as a part of another one."""
    author_trust: Trust
    status: Mapping[str, Any]
    """Signed by us; empty when it has no status comment."""


def read(repository_id: int) -> list[BoardIssue]:
    """Issues with a state label, a status comment of ours, or opened by us; parents before their parts.

    Raises:
        TrackerError: Nobody could say who we are.
    """
    us = registry.our_login(repository_id)
    notes = Comment.objects.filter(issue__repository_id=repository_id, is_ours=True, slot=STATUS)
    status = dict(notes.values_list("issue_id", "data"))
    rows = Issue.objects.filter(repository_id=repository_id).filter(
        ~Q(agent_state=AgentState.NONE) | Q(author__iexact=us) | Q(pk__in=notes.values("issue_id"))
    )
    found = {
        row.pk: BoardIssue(
            issue_id=row.pk,
            key=row.key,
            parent_id=row.parent_id,
            is_open=row.is_open,
            is_completed=not row.is_open and row.close_reason in ("", CloseReason.COMPLETED),
            state=AgentState(row.agent_state),
            is_ours=parts.is_same_login(row.author, us),
            author_trust=Trust(row.author_trust or Trust.NONE),
            status=status.get(row.pk) or {},
        )
        for row in rows.order_by("position", "pk").defer("body")
    }
    return sorted(found.values(), key=lambda issue: _level(issue, found))


def branches_of_changes(repository_id: int) -> dict[str, str]:
    """Key of the pull request of each of our branches; an open one is preferred, then the latest."""
    rows = Change.objects.filter(repository_id=repository_id, is_ours=True).order_by("is_open", "updated_at")
    return dict(rows.values_list("head_branch", "key"))


def _level(issue: BoardIssue, found: Mapping[int, BoardIssue]) -> int:
    seen = {issue.issue_id}
    above = found.get(issue.parent_id or 0)
    while above is not None and above.issue_id not in seen:
        seen.add(above.issue_id)
        above = found.get(above.parent_id or 0)
    return len(seen)
