"""The grid's settings, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class GridConf:
    """A typed view on the `GRID_*` settings."""

    state_dir: Path
    """Holds `repositories/`, `runs/` and `host/`; on the disk of one machine."""
    slots: int
    """Executions that one host runs at a time."""
    lease_seconds: int
    heartbeat_seconds: float
    drain_seconds: int
    """How long a stopping worker waits for its agents' checkpoints; the platform kills after 30."""
    agent_env: Mapping[str, str]
    """Variables of our own that agents may see; empty unless an operator says so."""
    agent_path: str
    agent_url: str
    """Where agents on this host reach the web process, without a slash at its end; empty: they get no tools of ours."""
    gateway_providers: frozenset[str]
    """Providers whose models agents reach through our gateway."""
    sandbox: str
    """Backend of runs that ask for none: `process`, `bwrap`, `docker`, or `auto`: bwrap where it works, else process."""
    egress_allow: tuple[str, ...]
    """Hosts that sandboxed agents may reach besides ours: `pypi.org`, `*.npmjs.org`."""
    docker_image: str
    keep_runs_days: int
    bus_url: str
    """Queue that gets every event: `sqs://…/name`; empty: there is none."""
    bus_kinds: tuple[str, ...]
    """Beginnings of the kinds that it gets; empty: all."""
    bus_source: str
    """What CloudEvents call the source: who we are."""
    bus_region: str
    bus_is_secure: bool
    """False only for an emulator without TLS."""
    event_wake_task: str
    """Celery task, by name, that is woken when executions ended."""
    python: str
    """Interpreter of our own helpers: shims, the built-in agent."""
    git: str

    @property
    def host_dir(self) -> Path:
        """Where the host keeps its id, its lock and the nursery's socket."""
        return self.state_dir / "host"

    @property
    def agents_dir(self) -> Path:
        """Where `agents install` puts coding CLIs; its `bin` is first in the agents' PATH."""
        return self.state_dir / "agents"

    def run_dir(self, execution_id: UUID) -> Path:
        """The folder of one execution."""
        return self.state_dir / "runs" / str(execution_id)

    def store_dir(self, repository: str) -> Path:
        """The store of one repository."""
        return self.state_dir / "repositories" / f"{repository}.git"

    @property
    def fence_margin_seconds(self) -> float:
        """A shim without renewal kills its agent this long before the lease ends."""
        return min(15.0, self.lease_seconds / 4)


def conf() -> GridConf:
    """Read the settings; cheap enough to call where needed, so that tests can override them."""
    return GridConf(
        state_dir=Path(settings.GRID_STATE_DIR),
        slots=settings.GRID_SLOTS,
        lease_seconds=settings.GRID_LEASE_SECONDS,
        heartbeat_seconds=settings.GRID_HEARTBEAT_SECONDS,
        drain_seconds=settings.GRID_DRAIN_SECONDS,
        agent_env=dict(settings.GRID_AGENT_ENV),
        agent_path=f"{Path(settings.GRID_STATE_DIR) / 'agents' / 'bin'}:{settings.GRID_AGENT_PATH}",
        agent_url=settings.GRID_AGENT_URL.rstrip("/"),
        gateway_providers=frozenset(settings.GATEWAY),
        sandbox=settings.GRID_SANDBOX,
        egress_allow=tuple(settings.GRID_EGRESS_ALLOW),
        docker_image=settings.GRID_DOCKER_IMAGE,
        keep_runs_days=settings.GRID_KEEP_RUNS_DAYS,
        bus_url=settings.GRID_BUS_URL,
        bus_kinds=tuple(settings.GRID_BUS_KINDS),
        bus_source=settings.GRID_BUS_SOURCE,
        bus_region=settings.GRID_BUS_REGION,
        bus_is_secure=settings.GRID_BUS_IS_SECURE,
        event_wake_task=settings.GRID_EVENT_WAKE_TASK,
        python=settings.GRID_PYTHON,
        git=settings.GIT,
    )
