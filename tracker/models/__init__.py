"""The tracker's tables: the local tracker's truth, and a mirror of every other tracker."""

from __future__ import annotations

from tracker.models.comments import Comment, Reaction
from tracker.models.github import Change, Creation, Delivery, Installation, Permission, Quota
from tracker.models.issues import Dependency, Issue, IssueAssignee, IssueLabel
from tracker.models.operations import Operation
from tracker.models.repositories import Repository

__all__ = [
    "Change",
    "Comment",
    "Creation",
    "Delivery",
    "Dependency",
    "Installation",
    "Issue",
    "IssueAssignee",
    "IssueLabel",
    "Operation",
    "Permission",
    "Quota",
    "Reaction",
    "Repository",
]
