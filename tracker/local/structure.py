"""Children and dependencies of local issues, within GitHub's limits. Call these under `rows.writing`."""

from __future__ import annotations

from collections.abc import Collection

from django.utils import timezone

from tracker import limits
from tracker.local import rows
from tracker.models import Dependency, Issue
from tracker.public_errors import InvalidError


def link_child(*, parent: Issue, child: Issue, after: Issue | None, replaces: bool = False) -> None:
    """Make `child` the last child of `parent`, or the one next to its sibling `after`.

    Raises:
        InvalidError: See `tracker.base.Tracker.link_child`.
    """
    siblings = list(Issue.objects.filter(parent=parent).order_by("position", "id"))
    if after is not None and (after.parent_id != parent.pk or after.pk == child.pk):
        raise InvalidError(f"#{after.key} is no other child of #{parent.key}; name a sibling.", field="after")
    if child.parent_id == parent.pk:
        if after is None:
            return
        siblings = [sibling for sibling in siblings if sibling.pk != child.pk]
    else:
        _check_new_child(parent=parent, child=child, siblings=len(siblings), replaces=replaces)
        before = child.parent
        rows.touch(child, parent=parent)
        rows.touch(parent)
        if before is not None:
            rows.touch(before)
    place = len(siblings) if after is None else [sibling.pk for sibling in siblings].index(after.pk) + 1
    siblings.insert(place, child)
    for position, sibling in enumerate(siblings):
        if sibling.position != position:
            sibling.position = position
            sibling.save(update_fields=["position"])


def unlink_child(*, parent: Issue, child: Issue) -> None:
    """Take a child away from its parent; does nothing when it is not its child."""
    if child.parent_id == parent.pk:
        rows.touch(child, parent=None, position=0)
        rows.touch(parent)


def set_blockers(*, issue: Issue, blockers: Collection[Issue]) -> None:
    """Make exactly these issues the ones that `issue` waits for.

    Raises:
        InvalidError: More than `BLOCKERS_MAX`, itself, or a cycle.
    """
    wanted = {blocker.pk: blocker for blocker in blockers}
    if len(wanted) > limits.BLOCKERS_MAX:
        raise InvalidError(f"{len(wanted)} blockers; an issue holds {limits.BLOCKERS_MAX}.", field="blockers")
    if issue.pk in wanted:
        raise InvalidError(f"#{issue.key} cannot wait for itself.", field="blockers")
    present = set(Dependency.objects.filter(issue=issue).values_list("blocker_id", flat=True))
    if present == wanted.keys():
        return
    _check_no_waiting_circle(issue=issue, blockers=wanted)
    Dependency.objects.filter(issue=issue, blocker_id__in=present - wanted.keys()).delete()
    Dependency.objects.bulk_create(
        Dependency(issue=issue, blocker=wanted[pk]) for pk in sorted(wanted.keys() - present)
    )
    now = timezone.now()
    rows.touch(issue, now=now)


def _check_new_child(*, parent: Issue, child: Issue, siblings: int, replaces: bool) -> None:
    if child.parent_id is not None and not replaces:
        raise InvalidError(f"#{child.key} already has another parent; unlink it there first.", field="child")
    ancestors = _ancestors(parent)
    if child.pk in ancestors:
        raise InvalidError(f"#{child.key} contains #{parent.key}: a cycle.", field="child")
    if siblings >= limits.CHILDREN_MAX:
        raise InvalidError(
            f"#{parent.key} has {limits.CHILDREN_MAX} sub-issues, closed ones included; group them.", field="parent"
        )
    if len(ancestors) + _height(child) > limits.LEVELS_MAX:
        raise InvalidError(
            f"Sub-issues nest {limits.LEVELS_MAX} levels deep; link #{child.key} higher.", field="parent"
        )


def _ancestors(issue: Issue) -> list[int]:
    """Ids from the issue itself up to its root."""
    line = [issue.pk]
    above = issue.parent_id
    # Bounded, so that rows broken by hand cannot make an endless loop.
    while above is not None and len(line) <= limits.LEVELS_MAX:
        line.append(above)
        above = Issue.objects.values_list("parent_id", flat=True).get(pk=above)
    return line


def _height(issue: Issue) -> int:
    """Levels from the issue itself down to its deepest descendant."""
    height = 1
    level = [issue.pk]
    while height <= limits.LEVELS_MAX:
        level = list(Issue.objects.filter(parent_id__in=level).values_list("pk", flat=True))
        if not level:
            break
        height += 1
    return height


def _check_no_waiting_circle(*, issue: Issue, blockers: dict[int, Issue]) -> None:
    seen = set(blockers)
    level = set(blockers)
    while level:
        level = set(Dependency.objects.filter(issue_id__in=level).values_list("blocker_id", flat=True)) - seen
        if issue.pk in level:
            raise InvalidError(f"One of these issues waits for #{issue.key} already: a cycle.", field="blockers")
        seen |= level
