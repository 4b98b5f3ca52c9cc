"""Our rows after writes of our own: just what we did, so that what people changed meanwhile is still found.

`updated_at` stays as last read. The sweep therefore looks at the issue once more, and reads that began before the write
lose against it (`mirror.is_overtaken`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from tracker.github import edges
from tracker.models import Comment, Issue, IssueAssignee, IssueLabel, Reaction
from tracker.public_types import AgentState, CloseReason


@contextmanager
def _writing(row: Issue, **fields: Any) -> Iterator[None]:
    """A transaction that holds the issue's row and says that we wrote to it."""
    with transaction.atomic():
        Issue.objects.filter(pk=row.pk).update(written_at=timezone.now(), **fields)
        yield


def state(row: Issue, shown: AgentState) -> None:
    """It shows this state."""
    with _writing(row, agent_state=shown):
        pass


def closed(row: Issue, *, reason: CloseReason, at: datetime) -> None:
    """It is closed and shows no state."""
    with _writing(row, is_open=False, close_reason=reason, closed_at=at, agent_state=AgentState.NONE):
        pass


def reopened(row: Issue) -> None:
    """It is open again."""
    with _writing(row, is_open=True, close_reason="", closed_at=None):
        pass


def texts(row: Issue, *, title: str, body: str) -> None:
    """It has these texts."""
    with _writing(row, title=title, body=body):
        pass


def label(row: Issue, name: str, *, present: bool) -> None:
    """It has this label now, or has it no longer."""
    with _writing(row):
        found = IssueLabel.objects.filter(issue=row, name__iexact=name)
        if not present:
            found.delete()
        elif not found.exists():
            IssueLabel.objects.get_or_create(issue=row, name=name)


def assigned(row: Issue, login: str, *, is_ours: bool) -> None:
    """Somebody is assigned as well."""
    with _writing(row):
        IssueAssignee.objects.update_or_create(issue=row, login=login, defaults={"is_ours": is_ours})


def children(row: Issue, child_ids: Sequence[int]) -> None:
    """It has exactly these children, by the tracker's own numbers, in this order."""
    with _writing(row):
        ids = _by_remote_id(row, child_ids)
        edges.put_children(row, [ids[child] for child in child_ids if child in ids])
        Issue.objects.filter(pk__in=ids.values()).update(written_at=timezone.now())


def blockers(row: Issue, blocker_ids: Collection[int]) -> None:
    """It waits for exactly these, by the tracker's own numbers."""
    with _writing(row):
        edges.put_blockers(row, set(_by_remote_id(row, blocker_ids).values()))


def commented(row: Issue) -> None:
    """It has a new or changed comment of ours; the comment's row is the mirror's."""
    with _writing(row):
        pass


def reacted(row: Issue, *, kind: str, comment: Comment | None) -> None:
    """It, or a comment on it, has our reaction."""
    with _writing(row):
        Reaction.objects.get_or_create(issue=row, comment=comment, kind=kind)


def _by_remote_id(row: Issue, remote_ids: Collection[int]) -> dict[int, int]:
    found = Issue.objects.filter(repository_id=row.repository_id, remote_id__in=remote_ids)
    return {remote_id: pk for remote_id, pk in found.values_list("remote_id", "pk") if remote_id is not None}
