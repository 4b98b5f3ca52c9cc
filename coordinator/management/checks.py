"""What `doctor` examines: the laws, then this machine. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from django.utils.module_loading import import_string

from coordinator import public_api
from coordinator.public_types import Violation
from coordinator.reading import pulse
from coordinator.reading.overview import SILENT_SECONDS, Overview
from grid import public_api as grid
from grid.public_errors import GridError

_OLDEST_GIT = (2, 38)
_FREE_BYTES = 1 << 30
_SLOW_SECONDS = 0.25
_ENVIRONMENT = "0 what everything stands on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Trouble that breaks no law yet."""

    check: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the doctor found."""

    violations: tuple[Violation, ...]
    warnings: tuple[Warned, ...]
    facts: dict[str, str]


def examine() -> Report:
    """Look at everything; the laws only where there is a database to ask."""
    facts: dict[str, str] = {}
    broken = [*_database(), *_git(facts)]
    has_tables = not any(violation.subject == "database" for violation in broken)
    if has_tables:
        broken += public_api.violations()
    warnings = [*_disk(facts), *_workspace(facts), *_sandbox(facts), *_agents_door(), *_plugged()]
    if has_tables:
        overview = public_api.overview(limit=20)
        warnings += [*_hosts(overview), *_sweeps(), *_repositories(overview), *_rule_for_depths()]
    return Report(violations=tuple(broken), warnings=tuple(warnings), facts=facts)


def _database() -> Iterator[Violation]:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Violation(
            law=_ENVIRONMENT,
            subject="database",
            detail=f"cannot be used: {str(error).strip()[:500]}",
            remedy="check DATABASE_URL, and that the server runs",
        )
        return
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing[:5])
        yield Violation(
            law=_ENVIRONMENT,
            subject="database",
            detail=f"{len(missing)} migrations are not applied: {names}",
            remedy="run `manage.py migrate`",
        )


def _git(facts: dict[str, str]) -> Iterator[Violation]:
    oldest = ".".join(map(str, _OLDEST_GIT))
    try:
        version = grid.git_version()
    except GridError as error:
        yield Violation(
            law=_ENVIRONMENT, subject="git", detail=str(error)[:500], remedy=f"install git {oldest} or newer"
        )
        return
    facts["git"] = ".".join(map(str, version))
    if version < _OLDEST_GIT:
        yield Violation(
            law=_ENVIRONMENT,
            subject="git",
            detail=f"this is git {facts['git']}; merging needs {oldest}",
            remedy=f"install git {oldest} or newer",
        )


def _disk(facts: dict[str, str]) -> Iterator[Warned]:
    try:
        free = grid.free_disk_bytes()
    except OSError as error:
        yield Warned(check="state folder", detail=str(error), remedy="set AGENTGRID_STATE_DIR to a writable folder")
        return
    facts["free_disk"] = f"{free / (1 << 30):.1f} GiB"
    if free < _FREE_BYTES:
        yield Warned(
            check="disk",
            detail=f"{facts['free_disk']} left in {settings.GRID_STATE_DIR}",
            remedy="free some, or lower AGENTGRID_KEEP_RUNS_DAYS",
        )


def _workspace(facts: dict[str, str]) -> Iterator[Warned]:
    try:
        seconds = grid.workspace_seconds()
    except GridError as error:
        yield Warned(
            check="workspace", detail=str(error)[:500], remedy="check AGENTGRID_STATE_DIR: owner, mode, free space"
        )
        return
    facts["workspace"] = f"{seconds * 1000:.0f} ms"
    if seconds > _SLOW_SECONDS:
        yield Warned(
            check="workspace",
            detail=f"making a workspace of 20 files takes {facts['workspace']}",
            remedy="put AGENTGRID_STATE_DIR on a local disk; network file systems are too slow",
        )


def _sandbox(facts: dict[str, str]) -> Iterator[Warned]:
    facts["sandbox"] = grid.sandbox() or "none can be had"
    if detail := grid.sandbox_warning():
        yield Warned(
            check="sandbox", detail=detail, remedy="install bubblewrap, or set AGENTGRID_SANDBOX; see docs/sandboxes.md"
        )


def _agents_door() -> Iterator[Warned]:
    """What TLS carries no proxy of ours can look at: agents reach all that the host serves whose address they are given."""
    door, site = urlsplit(settings.GRID_AGENT_URL), urlsplit(settings.PUBLIC_URL)
    if door.scheme == "https" and door.hostname == site.hostname:
        yield Warned(
            check="AGENTGRID_AGENT_URL",
            detail=f"sandboxed agents reach every page of {door.hostname}, the admin and webhooks too",
            remedy="give agents a host of its own that passes on their paths alone; see docs/sandboxes.md",
        )


def _hosts(overview: Overview) -> Iterator[Warned]:
    if not overview.running and not overview.waiting:
        return
    if not overview.has_working_host:
        yield Warned(check="hosts", detail="work waits, and no host takes any", remedy="start one with `manage.py up`")
    for host in overview.hosts:
        if host.heartbeat_age_seconds > SILENT_SECONDS and host.running:
            yield Warned(
                check="hosts",
                detail=f"{host.name} has {host.running} executions and is silent for {host.heartbeat_age_seconds:.0f} s",
                remedy="start its `executions` worker again; else the sweep takes its work away",
            )


def _sweeps() -> Iterator[Warned]:
    if detail := pulse.problem(now=timezone.now()):
        yield Warned(check="sweeps", detail=detail, remedy=pulse.REMEDY)


def _repositories(overview: Overview) -> Iterator[Warned]:
    """Trees that begin meanwhile run by an old policy, or not at all."""
    for repository, error in overview.policy_errors:
        yield Warned(
            check=f"{repository.scope}: policy file or fetch",
            detail=error[:2_000],
            remedy="correct the policy file on the default branch, or what keeps git from fetching; see docs/policy-file.md",
        )


def _rule_for_depths() -> Iterator[Warned]:
    for name in public_api.unknown_tiers():
        yield Warned(
            check="AGENTGRID_TIERS_BY_DEPTH",
            detail=f"there is no tier {name!r}; agents of that depth get the lowest one",
            remedy="write the name of a tier, as `profile show` knows them: "
            + ", ".join(public_api.fleet_tiers().names()),
        )


def _plugged() -> Iterator[Warned]:
    """Checks of packages above this one, named in the setting DOCTOR_CHECKS: callables that return sentences."""
    for name in getattr(settings, "DOCTOR_CHECKS", []):
        try:
            problems = list(import_string(name)())
        except Exception as error:
            yield Warned(check=name, detail=f"could not be made: {error!r}"[:500], remedy="see the log; fix the check")
            continue
        for problem in problems:
            detail, _, remedy = str(problem).partition(": ")
            yield Warned(check=name, detail=str(problem), remedy=remedy or detail)
