"""Writes to trackers, wished for in the transaction that decides them and carried out later by `tracker.drain`.

The row is the wish: it commits or rolls back with the decision, and its key makes repeating it harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import batched

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from tracker import labels, writes
from tracker.models import Issue, Operation, Repository
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import Write, WriteKind, WriteResult

WRITES_MAX = 1_000
"""In one wish."""
_KEYS_PER_QUERY = 5_000
_PENDING = Q(state=Operation.State.PENDING)


def wish(repository_id: int, wished: Sequence[Write]) -> None:
    """Insert writes, in order, into the caller's transaction; a key that exists already changes nothing.

    An unstarted write with the same `coalesce` value is superseded.

    Raises:
        InvalidError: A misshapen write, a key used by another repository, `{"from": KEY}` of no earlier create, or
            more than `WRITES_MAX`. Nothing is inserted then.
    """
    if len(wished) > WRITES_MAX:
        raise InvalidError(f"{len(wished)} writes in one wish; pass at most {WRITES_MAX} at a time.", field="writes")
    payloads = {write.key: writes.checked(write) for write in wished}
    _check_keys(repository_id, wished, payloads)
    with transaction.atomic(savepoint=False):
        Operation.objects.bulk_create(
            [
                Operation(
                    repository_id=repository_id,
                    key=write.key,
                    kind=write.kind,
                    payload=payloads[write.key],
                    coalesce=write.coalesce,
                    subject=writes.subject(payloads[write.key])[:50],
                    rests_until=write.not_before,
                )
                for write in wished
            ],
            ignore_conflicts=True,
        )
        _supersede(repository_id, {write.coalesce for write in wished} - {""})


def results(keys: Iterable[str]) -> dict[str, WriteResult]:
    """How writes stand, by key; keys never wished for are left out."""
    found: dict[str, WriteResult] = {}
    for some in batched(keys, _KEYS_PER_QUERY):
        found.update((row.key, result(row)) for row in Operation.objects.filter(key__in=some))
    return found


def latest(prefix: str) -> WriteResult | None:
    """How the last write whose key starts so stands; None when there never was one."""
    # Not ORDER BY … LIMIT 1, for which PostgreSQL would walk all writes backwards.
    rows = list(Operation.objects.filter(key__startswith=prefix))
    return result(max(rows, key=lambda row: row.pk)) if rows else None


def withdraw(keys: Iterable[str], *, now: datetime) -> int:
    """Take back writes that nobody has attempted yet, in the caller's transaction; returns how many.

    One under way is carried out: its caller undoes it when the result comes in.
    """
    taken = 0
    for some in batched(keys, _KEYS_PER_QUERY):
        rows = Operation.objects.filter(_PENDING, key__in=some, attempts=0)
        taken += rows.update(state=Operation.State.SUPERSEDED, finished_at=now, value={"withdrawn": True})
    return taken


def failed(*, limit: int) -> list[WriteResult]:
    """Writes that failed for ever and wait for an operator, the latest first."""
    rows = Operation.objects.filter(state=Operation.State.FAILED).order_by("-finished_at", "-id")
    return [result(row) for row in rows[:limit]]


def ready(repository_id: int, *, now: datetime) -> QuerySet[Operation]:
    """Pending writes in order, without those that rest and those on issues that a person holds."""
    return _awake(Operation.objects.filter(repository_id=repository_id), now=now)


def due_repositories(now: datetime) -> list[int]:
    """Active repositories whose next write may be carried out now and which nobody drains."""
    waiting = list(Operation.objects.filter(_PENDING).order_by().values_list("repository_id", flat=True).distinct())
    if not waiting:  # as a rule; the question below is a hundred times dearer
        return []
    pending = _awake(Operation.objects.filter(repository=OuterRef("pk")), now=now)
    rows = (
        Repository.objects.filter(Exists(pending), pk__in=waiting, is_active=True)
        .filter(Q(outbox_lease_until=None) | Q(outbox_lease_until__lt=now))
        .annotate(not_before=Subquery(pending.values("not_before")[:1]))
        .filter(Q(not_before=None) | Q(not_before__lte=now))
    )
    return list(rows.order_by("pk").values_list("pk", flat=True))


def repository_of(key: str) -> int:
    """Id of the write's repository. Raises NotFoundError."""
    found = Operation.objects.filter(key=key).values_list("repository_id", flat=True).first()
    if found is None:
        raise NotFoundError(f"There is no write {key!r}.")
    return found


def retry(key: str) -> bool:
    """Take a write that failed for ever up again, and with it those that failed only because of it.

    An edit that a later one has replaced stays away.

    Returns:
        False for a write that is pending or done; nothing happens to it.

    Raises:
        NotFoundError: No such write.
    """
    with transaction.atomic():
        found = Operation.objects.filter(key=key).values_list("state", flat=True).first()
        if found is None:
            raise NotFoundError(f"There is no write {key[:200]!r}.")
        taken_up = [key]
        condition = Q(key=key)
        while taken_up:
            _supersede_failed(condition)
            again = Operation.objects.filter(condition, state=Operation.State.FAILED)
            taken_up = list(again.values_list("key", flat=True))
            again.update(
                state=Operation.State.PENDING, attempts=0, error="", failed_with="", not_before=None, finished_at=None
            )
            condition = Q(failed_with__in=taken_up)
    return found == Operation.State.FAILED


def result(row: Operation) -> WriteResult:
    """The operation as a value."""
    return WriteResult(
        key=row.key,
        kind=WriteKind(row.kind),
        is_done=row.state in (Operation.State.DONE, Operation.State.SUPERSEDED),
        error=row.error,
        is_permanent=row.state == Operation.State.FAILED,
        attempts=row.attempts,
        value=row.value,
    )


def supersede_unstarted(row: Operation) -> bool:
    """Give an unstarted write up when a later one replaces it; True if it was given up."""
    if not row.coalesce or row.attempts:
        return False
    _supersede(row.repository_id, {row.coalesce})
    return Operation.objects.filter(pk=row.pk, state=Operation.State.SUPERSEDED).exists()


def supersede_among(rows: Sequence[Operation]) -> list[Operation]:
    """Give unstarted writes up that a later one of these replaces; returns the others."""
    latest = {row.coalesce: row for row in rows if row.coalesce}
    gone = [row for row in rows if row.coalesce and row is not latest[row.coalesce] and not row.attempts]
    if gone:
        _supersede(gone[0].repository_id, {row.coalesce for row in gone})
    return [row for row in rows if row not in gone]


def _awake(rows: QuerySet[Operation], *, now: datetime) -> QuerySet[Operation]:
    """Pending ones that need not wait by themselves; writes of other issues go past those that must.

    A person who holds an issue, or has taken it over, is not written over. What answers that person's own command is
    let through, or the label that holds could never be taken off.
    """
    people = Q(labels__name__iexact=labels.HOLD) | Q(assignees__is_ours=False)
    held = Issue.objects.filter(people, repository=OuterRef("repository"), key=OuterRef("subject"))
    answers = Q(kind__in=[WriteKind.SET_LABEL, WriteKind.REACT]) | Q(key__startswith="answer:")
    return rows.filter(_PENDING, Q(rests_until=None) | Q(rests_until__lte=now), answers | ~Exists(held)).order_by("id")


def _supersede(repository_id: int, coalesce: Collection[str]) -> None:
    """Keep the latest pending write of each value. Both sides UPDATE conditionally, so a started one stays."""
    if not coalesce:
        return
    rows = Operation.objects.filter(_PENDING, repository_id=repository_id, coalesce__in=coalesce)
    latest: dict[str, tuple[int, str]] = {}
    replaced: dict[str, list[int]] = {}
    for value, pk, key in rows.order_by("id").values_list("coalesce", "id", "key"):
        if value in latest:
            replaced.setdefault(value, []).append(latest[value][0])
        latest[value] = (pk, key)
    for value, ids in replaced.items():
        rows.filter(pk__in=ids, attempts=0).update(
            state=Operation.State.SUPERSEDED, finished_at=timezone.now(), value={"superseded_by": latest[value][1]}
        )


def _supersede_failed(condition: Q) -> None:
    """Failed edits that a later one has replaced must not come back and undo it."""
    same = Operation.objects.filter(repository=OuterRef("repository"), coalesce=OuterRef("coalesce"))
    later = same.filter(id__gt=OuterRef("id")).exclude(state=Operation.State.FAILED)
    failed_edits = Operation.objects.filter(condition, ~Q(coalesce=""), state=Operation.State.FAILED)
    keys = list(failed_edits.filter(Exists(later)).values_list("key", flat=True))
    Operation.objects.filter(key__in=keys).update(state=Operation.State.SUPERSEDED, error="", failed_with="")


def _check_keys(repository_id: int, wished: Sequence[Write], payloads: dict[str, dict[str, object]]) -> None:
    """Every write's predecessors are creates wished for earlier, and no key belongs to another repository."""
    needed = {key for payload in payloads.values() for key in writes.predecessors(payload)}
    known: dict[str, tuple[int, str]] = {}
    for keys in batched(needed | payloads.keys(), _KEYS_PER_QUERY):
        rows = Operation.objects.filter(key__in=keys).values_list("key", "repository_id", "kind")
        known.update((key, (owner, kind)) for key, owner, kind in rows)
    for write in wished:
        if known.get(write.key, (repository_id, ""))[0] != repository_id:
            raise InvalidError(f"The key {write.key!r} belongs to a write of another repository.", field="key")
        for earlier in writes.predecessors(payloads[write.key]):
            if known.get(earlier) != (repository_id, WriteKind.CREATE_ISSUE.value):
                raise InvalidError(
                    f"{write.key}: {earlier[:200]!r} is no create_issue wished for earlier in this repository.",
                    field="from",
                )
        known[write.key] = (repository_id, write.kind.value)
