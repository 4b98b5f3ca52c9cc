"""Repositories under care: fetched heads and the policy read from the default branch."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from coordinator.agents import integration, roster
from coordinator.care import definitions
from coordinator.conf import conf
from coordinator.documents import policy_file
from coordinator.documents.policy import DEFAULT_ADAPTER, EffectivePolicy, FleetLimits, effective
from coordinator.documents.policy_file import Policy
from coordinator.models import Envelope, RepositoryPolicy
from coordinator.money import budgets
from coordinator.public_errors import InvalidInputError
from grid import public_agents as grid_agents
from grid import public_code as grid_code
from grid.public_errors import GridError
from grid.public_sql import Prepared, given
from grid.public_types import AgentSpec
from tracker import public_api as tracker
from tracker.public_errors import TrackerError
from tracker.public_types import RepositoryView

log = logging.getLogger(__name__)
_POLICY = Prepared(lambda: RepositoryPolicy.objects.filter(repository=given("repository")).order_by())


def add_local(path: str) -> RepositoryView:
    """Take a git repository on this machine under care, with the built-in tracker.

    Raises:
        InvalidInputError: It is not a git repository, or has no commit.
    """
    source = Path(path).expanduser().resolve()
    if not source.is_dir():
        raise InvalidInputError(f"{path} is not a directory; give the path of a git repository")
    known = next((row for row in tracker.list_repositories() if row.source == str(source)), None)
    if known is not None:
        return known
    try:
        branch = grid_code.default_branch(str(source))
    except GridError as error:
        raise InvalidInputError(f"{path} is not a git repository with a commit: {error}") from error
    return tracker.ensure_repository(tracker="local", scope=_scope(source), source=str(source), default_branch=branch)


def refresh(repository_id: int) -> RepositoryPolicy:
    """Fetch a repository and read its policy; keeps the last good one when the present one is broken."""
    repository = tracker.get_repository(repository_id)
    store = integration.store_key(repository_id)
    row, _ = RepositoryPolicy.objects.get_or_create(repository_id=repository_id)
    row.refreshed_at, row.error = timezone.now(), ""
    try:
        door = integration.access(repository_id)
        grid_code.fetch_repository(repository=store, source=door.source, credential=door.credential)
        head = grid_code.upstream_head(repository=store, branch=repository.default_branch)
        if not head:
            row.error = f"{repository.source} has no branch {repository.default_branch}"
        else:
            _read_policy(row, store=store, head=head)
    except (GridError, TrackerError) as error:
        row.error = str(error)[:2000]
    row.save()
    if row.error:
        log.warning(
            "repository not refreshed", extra={"action": "refresh", "repository": repository.scope, "error": row.error}
        )
    limits = effective_policy(row)
    roster.repository_envelope(repository_id, max_live=limits.concurrency)
    return row


def refresh_stale(max_age: timedelta) -> int:
    """Refresh every repository that was not looked at for a while; returns how many."""
    fresh = set(
        RepositoryPolicy.objects.filter(refreshed_at__gt=timezone.now() - max_age).values_list(
            "repository_id", flat=True
        )
    )
    stale = [row.id for row in tracker.list_repositories() if row.id not in fresh]
    for repository_id in stale:
        refresh(repository_id)
    return len(stale)


def policy_of(repository_id: int) -> RepositoryPolicy | None:
    """What is stored about a repository; None before the first refresh."""
    return _POLICY.one(repository=repository_id)


def errors() -> list[tuple[RepositoryView, str]]:
    """Repositories whose fetch or policy file is not good, and why."""
    rows = RepositoryPolicy.objects.exclude(error="").order_by("repository_id")
    return [(tracker.get_repository(row.repository_id), row.error) for row in rows]


def policy_error(repository_id: int) -> str:
    """What is wrong with a repository's policy file, for anybody who may read that; empty when it is good.

    Faults of fetching are none of it: they tell of the operator's machines.
    """
    row = policy_of(repository_id)
    return row.error if row is not None and row.error.startswith(f"{policy_file.FILE_NAME}:") else ""


def effective_policy(row: RepositoryPolicy | None) -> EffectivePolicy:
    """The last good policy of a repository under the fleet's caps."""
    return effective(_stored(row) if row is not None and row.policy is not None else None, fleet_limits())


def fleet_limits() -> FleetLimits:
    """The operator's caps."""
    settings = conf()
    return FleetLimits(
        max_live_per_repository=settings.max_live_per_repository,
        max_live_per_tree=settings.max_live_per_tree,
        max_depth=settings.max_depth,
        max_children=settings.max_children,
        max_open_descendants=settings.max_open_descendants,
        max_attempts=settings.max_attempts,
        tree_executions=settings.tree_executions,
        tree_wall_seconds=settings.tree_wall_seconds,
        conflict_seconds=settings.conflict_seconds,
        tool_calls=settings.tool_calls or 0,
        tree_tool_calls=settings.tree_tool_calls or 0,
        tree_tokens=settings.tree_tokens or 0,
        tree_children=settings.tree_children or 0,
        # A fraction of a dollar is kept by the settings themselves, which hold beside these.
        tree_usd=_dollars(settings.tree_usd_micros),
        spend_without_progress_usd=_dollars(settings.spend_without_progress_micros),
        day_usd=_dollars(settings.repository_day_usd_micros),
        day_tokens=settings.repository_day_tokens or 0,
        day_executions=settings.repository_day_executions or 0,
    )


def cap_tree(envelope: Envelope, limits: EffectivePolicy) -> None:
    """Lower a new tree's envelope to its repository's policy; limits raised by hand later are left alone."""
    budgets.lower(
        envelope,
        max_live=limits.tree_concurrency,
        executions_limit=limits.tree_executions,
        wall_limit_seconds=limits.tree_wall_seconds,
        **{
            name: cap
            for name, cap in (
                ("tool_calls_limit", limits.tree_tool_calls),
                ("usd_limit_micros", limits.tree_usd * 1_000_000),
                ("tokens_limit", limits.tree_tokens),
                ("children_limit", limits.tree_children),
                ("progress_limit_micros", limits.spend_without_progress_usd * 1_000_000),
            )
            if cap
        },
    )


def _dollars(micros: int | None) -> int:
    return -(-(micros or 0) // 1_000_000)


def _stored(row: RepositoryPolicy) -> Policy | None:
    try:
        return policy_file.load_policy(row.policy)
    except (
        InvalidInputError
    ) as error:  # written by another version of this program; the next refresh reads the file anew
        log.warning("stored policy not read", extra={"action": "policy", "error": str(error)[:300]})
        return None


def _read_policy(row: RepositoryPolicy, *, store: str, head: str) -> None:
    row.head = head
    data = grid_code.read_file(repository=store, commit=head, path=policy_file.FILE_NAME)
    try:
        policy = policy_file.parse_policy(data or b"")
        definitions.check(policy)
        if policy.adapter or policy.options:
            grid_agents.check_agent(AgentSpec(adapter=policy.adapter or DEFAULT_ADAPTER, options=policy.options))
    except (InvalidInputError, GridError) as error:
        kept = " (the last good version is in force)" if row.policy is not None else ""
        named = "" if str(error).startswith(policy_file.FILE_NAME) else f"{policy_file.FILE_NAME}: "
        row.error = f"{named}{error}{kept}"[:4000]
        return
    row.policy, row.policy_commit = policy_file.dump_policy(policy), head


def _scope(source: Path) -> str:
    """`local/<folder>`, with a number when another repository of that name is known."""
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in source.name).strip("-.") or "repository"
    taken = {row.scope for row in tracker.list_repositories()}
    scope, number = f"local/{name[:60]}", 2
    while scope in taken:
        scope, number = f"local/{name[:60]}-{number}", number + 1
    return scope
