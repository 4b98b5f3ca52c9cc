"""How the local tracker finds, locks and touches its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from tracker import limits
from tracker.models import Issue, Repository
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import IssueDraft, Ref

OURSELVES = "agent-grid"
"""Author of everything that the grid writes."""


def repository(scope: str) -> Repository:
    """The local repository of this scope.

    Raises:
        NotFoundError: There is none.
    """
    found = (
        Repository.objects.filter(tracker=Repository.Kind.LOCAL, scope=scope).first() if limits.is_name(scope) else None
    )
    if found is None:
        raise NotFoundError(f"The local tracker has no repository {scope[:100]!r}; create it with ensure_repository.")
    return found


@contextmanager
def writing(scope: str, *, home: Repository | None = None) -> Iterator[Repository]:
    """A transaction that holds the repository's row, so that its issues have one writer at a time.

    With `home`, the caller's transaction holds that row already.

    Numbers, children counts and cycles are decided from rows read under this lock. On SQLite the transaction itself
    is the lock (IMMEDIATE); `no_key` lets PostgreSQL insert rows that refer to the repository meanwhile.
    """
    with transaction.atomic():
        if home is not None and home.scope == scope:
            yield home
            return
        found = repository(scope)
        yield Repository.objects.select_for_update(no_key=True).get(pk=found.pk)


def issue(ref: Ref) -> Issue:
    """The issue, with its repository.

    Raises:
        NotFoundError: There is none.
    """
    if limits.is_name(ref.scope) and limits.is_number(ref.key):
        rows = Issue.objects.select_related("repository")
        with suppress(Issue.DoesNotExist):
            return rows.get(repository__tracker=Repository.Kind.LOCAL, repository__scope=ref.scope, key=ref.key)
    raise NotFoundError(f"The local tracker has no issue {ref!s:.300}.")


def same_scope(ref: Ref, other: Ref, *, field: str) -> Issue:
    """The issue `other`, which must be in the scope of `ref`.

    Raises:
        InvalidError: It is in another scope.
        NotFoundError: There is none.
    """
    if ref.scope != other.scope:
        raise InvalidError(f"{other} is in another scope than {ref}; link issues of one repository.", field=field)
    return issue(other)


def touch(row: Issue, *, now: datetime | None = None, **fields: Any) -> None:
    """Change these fields of an issue, and the time of its last change; `row` shows them as well."""
    changes = {"updated_at": now or timezone.now(), **fields}
    Issue.objects.filter(pk=row.pk).update(**changes)
    for name, value in changes.items():
        setattr(row, name, value)


def insert(*, home: Repository, draft: IssueDraft, author: str, dedupe_key: str, **fields: Any) -> Issue:
    """A new issue under the next number. Call it under `writing`; `home` is the locked row."""
    home.last_number += 1
    home.save(update_fields=["last_number"])
    now = timezone.now()
    return Issue.objects.create(
        repository=home,
        key=str(home.last_number),
        title=limits.title(draft.title),
        body=limits.body(draft.body),
        author=author,
        dedupe_key=dedupe_key,
        created_at=now,
        updated_at=now,
        **fields,
    )
