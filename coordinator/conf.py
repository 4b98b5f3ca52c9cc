"""The coordinator's settings, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from coordinator.public_types import TokenPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorConf:
    """A typed view on the `COORDINATOR_*` settings and `PUBLIC_URL`: the fleet's caps, which a repository's policy may only lower."""

    max_live: int
    max_live_per_repository: int
    max_live_per_tree: int
    max_depth: int
    max_children: int
    max_open_descendants: int
    max_attempts: int
    tree_executions: int
    tree_wall_seconds: int
    tree_usd_micros: int | None
    """Money for models in one tree, in millionths of a US dollar; None: no limit."""
    tree_tokens: int | None
    tree_tool_calls: int | None
    tree_children: int | None
    """Agents in one tree, its root among them; None: no limit."""
    raise_factor: int
    """How many times the runs and the money above people with write access may let one tree use, by `/agent budget`."""
    tool_calls: int | None
    """Of one run; None: no limit."""
    spend_without_progress_micros: int | None
    """Money that a tree may spend without work that is accepted; None: no limit."""
    day_usd_micros: int | None
    """Of one day (UTC) of the fleet, as are the two below; None: no limit."""
    day_tokens: int | None
    day_executions: int | None
    repository_day_usd_micros: int | None
    """The same of one repository."""
    repository_day_tokens: int | None
    repository_day_executions: int | None
    gateway: Mapping[str, Mapping[str, str]]
    """By provider: `url` of its API, without a slash at its end, and `key`, the real one."""
    gateway_prices: Mapping[str, TokenPrice]
    """The operator's own, by `provider:model` or the beginning of one with a `*` at its end."""
    gateway_may_reach: frozenset[str]
    """Ways in which agents may have their models' providers reach the network; names of `coordinator.gateway.reaching`."""
    tiers_by_depth: tuple[str, ...]
    """Names of the strongest tiers that agents of depth 0, 1, … may use; the last one holds for all below it."""
    retry_seconds: float
    conflict_seconds: int
    """Until the default is taken in a conflict that nobody decides."""
    conflict_grace_seconds: int
    """For an agent that is asked to give way."""
    is_working: bool
    """False launches nothing more; what is queued or runs goes on. `pause --fleet` holds the queued ones, too."""
    public_url: str
    """Where people reach this installation, without a slash at its end; empty: comments hold no links."""


def conf() -> CoordinatorConf:
    """Read the settings; cheap enough to call where needed."""
    return CoordinatorConf(
        max_live=settings.COORDINATOR_MAX_LIVE,
        max_live_per_repository=settings.COORDINATOR_MAX_LIVE_PER_REPOSITORY,
        max_live_per_tree=settings.COORDINATOR_MAX_LIVE_PER_TREE,
        max_depth=settings.COORDINATOR_MAX_DEPTH,
        max_children=settings.COORDINATOR_MAX_CHILDREN,
        max_open_descendants=settings.COORDINATOR_MAX_OPEN_DESCENDANTS,
        max_attempts=settings.COORDINATOR_MAX_ATTEMPTS,
        tree_executions=settings.COORDINATOR_TREE_EXECUTIONS,
        tree_wall_seconds=settings.COORDINATOR_TREE_WALL_SECONDS,
        tree_usd_micros=_micros(settings.COORDINATOR_TREE_USD),
        tree_tokens=settings.COORDINATOR_TREE_TOKENS or None,
        tree_tool_calls=settings.COORDINATOR_TREE_TOOL_CALLS or None,
        tree_children=settings.COORDINATOR_TREE_CHILDREN or None,
        raise_factor=settings.COORDINATOR_RAISE_FACTOR,
        tool_calls=settings.COORDINATOR_TOOL_CALLS or None,
        spend_without_progress_micros=_micros(settings.COORDINATOR_SPEND_WITHOUT_PROGRESS_USD),
        day_usd_micros=_micros(settings.COORDINATOR_DAY_USD),
        day_tokens=settings.COORDINATOR_DAY_TOKENS or None,
        day_executions=settings.COORDINATOR_DAY_EXECUTIONS or None,
        repository_day_usd_micros=_micros(settings.COORDINATOR_REPOSITORY_DAY_USD),
        repository_day_tokens=settings.COORDINATOR_REPOSITORY_DAY_TOKENS or None,
        repository_day_executions=settings.COORDINATOR_REPOSITORY_DAY_EXECUTIONS or None,
        gateway=settings.GATEWAY,
        gateway_prices={
            name: TokenPrice(input_micros=round(inputs * 1_000_000), output_micros=round(outputs * 1_000_000))
            for name, (inputs, outputs) in settings.GATEWAY_PRICES.items()
        },
        gateway_may_reach=frozenset(settings.GATEWAY_MAY_REACH),
        tiers_by_depth=tuple(settings.COORDINATOR_TIERS_BY_DEPTH),
        retry_seconds=settings.COORDINATOR_RETRY_SECONDS,
        conflict_seconds=settings.COORDINATOR_CONFLICT_SECONDS,
        conflict_grace_seconds=settings.COORDINATOR_CONFLICT_GRACE_SECONDS,
        is_working=settings.COORDINATOR_WORKING,
        public_url=settings.PUBLIC_URL,
    )


def _micros(usd: float) -> int | None:
    return round(usd * 1_000_000) or None
