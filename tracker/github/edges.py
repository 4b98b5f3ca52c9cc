"""Links between issues in our rows. Call these in a transaction that holds the issue's row."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Max

from tracker.models import Dependency, Issue


def put_parent(issue: Issue, parent_id: int | None) -> None:
    """Give the row this parent, as its last child unless it is its child already."""
    if parent_id == issue.parent_id or parent_id == issue.pk:
        return
    last = Issue.objects.filter(parent_id=parent_id).aggregate(last=Max("position"))["last"] if parent_id else None
    issue.parent_id, issue.position = parent_id, 0 if last is None else last + 1
    Issue.objects.filter(pk=issue.pk).update(parent_id=issue.parent_id, position=issue.position)


def put_children(issue: Issue, child_ids: Sequence[int]) -> None:
    """Give the row exactly these children in this order."""
    wanted = {pk: position for position, pk in enumerate(child_ids) if pk != issue.pk}
    known: dict[int, int] = dict(Issue.objects.filter(parent=issue).values_list("pk", "position"))
    Issue.objects.filter(pk__in=known.keys() - wanted.keys()).update(parent=None, position=0)
    for pk, position in wanted.items():
        if known.get(pk) != position:
            Issue.objects.filter(pk=pk).update(parent=issue, position=position)


def put_blockers(issue: Issue, blocker_ids: set[int]) -> None:
    """Let the row wait for exactly these."""
    wanted = blocker_ids - {issue.pk}
    Dependency.objects.filter(issue=issue).exclude(blocker_id__in=wanted).delete()
    links = [Dependency(issue=issue, blocker_id=pk) for pk in sorted(wanted)]
    Dependency.objects.bulk_create(links, ignore_conflicts=True)
