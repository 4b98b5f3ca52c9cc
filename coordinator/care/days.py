"""The days of the fleet and of repositories: levels of a launch and of a model call beside the path, each for one day in UTC.

A day's envelope is made when it is first needed, with the limits that are in force then and what its scope has used of the
day by then; yesterday's keeps what it used.
What was reserved on one day is settled on it, also after midnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from django.db import transaction
from django.db.models import Q

from coordinator.agents import roster
from coordinator.care import repositories
from coordinator.conf import conf
from coordinator.documents.policy import EffectivePolicy
from coordinator.models import Envelope
from coordinator.money import budgets, day_opening
from coordinator.public_errors import AgentNotFoundError
from coordinator.public_types import ScopeKind
from coordinator.rules import budget_rules
from grid.public_sql import Prepared, given_all

_LEVELS = Prepared(
    lambda: Envelope.objects.filter(Q(pk__in=given_all("ids")) | Q(key__in=given_all("keys"))).order_by()
)


def path(envelope: Envelope, *, repository_id: int, policy: EffectivePolicy, at: datetime) -> list[Envelope]:
    """The levels of a launch: from the fleet down to this envelope, each day behind its scope. One query, as a rule.

    Args:
        envelope: The agent's own.
        repository_id: The agent's.
        policy: Of that repository, for the limits of a day that is new.
        at: Aware; its day in UTC counts.
    """
    ids = envelope.path_ids
    wanted = {
        scope: (budget_rules.day_key(scope, at.astimezone(UTC).date()), limits)
        for scope, limits in ((budgets.FLEET, _fleet()), (f"repository:{repository_id}", _repository(policy)))
    }
    rows = _LEVELS.rows(ids=ids, keys=[key for key, _ in wanted.values()])
    found = {row.pk: row for row in rows}
    if found[envelope.pk].ancestors != envelope.ancestors:  # moved since it was read
        return path(found[envelope.pk], repository_id=repository_id, policy=policy, at=at)
    days = {row.key: row for row in found.values() if row.kind == ScopeKind.DAY}
    levels: list[Envelope] = []
    for pk in ids:
        levels.append(found[pk])
        key, limits = wanted.get(found[pk].key, ("", {}))
        if key in days:
            levels.append(days[key])
        elif limits:
            levels.append(_opened(key, above=found[pk], limits=limits))
    return levels


def ids(envelope_id: int, *, repository_id: int, at: datetime) -> tuple[int, ...]:
    """Ids of the same levels, ascending."""
    policy = repositories.effective_policy(repositories.policy_of(repository_id))
    envelope = Envelope.objects.get(pk=envelope_id)
    return tuple(sorted(row.pk for row in path(envelope, repository_id=repository_id, policy=policy, at=at)))


def ensure(key: str) -> Envelope:
    """The envelope of a day by its key, made when its scope is known: for limits given by hand. Raises AgentNotFoundError."""
    found = budget_rules.day_of(key)
    if found is None:
        return budgets.get(key)
    scope, day = found
    roster.ensure_scope(scope)
    above = budgets.get(scope)
    if above.kind not in (ScopeKind.FLEET, ScopeKind.REPOSITORY) or budget_rules.day_key(scope, day) != key:
        raise AgentNotFoundError(f"no scope {key!r}: the fleet and repositories have days, as in fleet:day:2026-11-28")
    limits = _fleet() if above.kind == ScopeKind.FLEET else _of_repository(int(scope.partition(":")[2]))
    return _opened(key, above=above, limits=limits)


def _opened(key: str, *, above: Envelope, limits: Mapping[str, int]) -> Envelope:
    """The day's envelope, made with what was used of the day; a limit that comes too late allows that, and no more."""
    row = Envelope.objects.filter(key=key).first()
    if row is not None:
        return row
    with transaction.atomic():
        used = day_opening.used(above, key)
        if (row := Envelope.objects.filter(key=key).first()) is not None:  # made while we waited for the scope
            return row
        columns = budget_rules.columns(used)
        fitting = {column: max(limit, columns.get(column, 0)) for column, limit in limits.items()}
        row = budgets.ensure(kind=ScopeKind.DAY, key=key, parent=above, limits=fitting)
        day_opening.carry_over(row, used)
    return row


def _of_repository(repository_id: int) -> dict[str, int]:
    return _repository(repositories.effective_policy(repositories.policy_of(repository_id)))


def _fleet() -> dict[str, int]:
    settings = conf()
    return _columns(
        {"usd_micros": settings.day_usd_micros, "tokens": settings.day_tokens, "executions": settings.day_executions}
    )


def _repository(policy: EffectivePolicy) -> dict[str, int]:
    settings = conf()
    said = {"usd_micros": policy.day_usd * 1_000_000, "tokens": policy.day_tokens, "executions": policy.day_executions}
    exact = settings.repository_day_usd_micros
    if exact is not None:
        said["usd_micros"] = min(said["usd_micros"] or exact, exact)
    return _columns(said)


def _columns(limits: Mapping[str, int | None]) -> dict[str, int]:
    return budget_rules.columns({name: value for name, value in limits.items() if value})
