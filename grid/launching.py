"""Start an execution's phases on this machine: workspace, environment, shim."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal
from uuid import UUID

from django.db import DatabaseError, close_old_connections
from django.db.models.functions import Now

from grid import (
    bearers,
    conversations,
    executions,
    gridctl,
    lifecycle,
    phases,
    placing,
    processes,
    specs,
    store,
    wiring,
    workspaces,
)
from grid.agents import base, registry, resuming
from grid.conf import GridConf, conf
from grid.models import Execution
from grid.phases import Phase
from grid.processes import ShimSpec, ShimState, StartCode
from grid.public_errors import GridError, LaunchFailedError
from grid.public_types import LaunchSpec, Result, State
from grid.sandboxes import choosing
from grid.sandboxes.base import Request, Wrapped
from grid.statements.prepared import Prepared, given
from grid.statements.writing import PreparedUpdate

log = logging.getLogger(__name__)
_FENCE = Prepared(lambda: Execution.objects.filter(pk=given("execution")).order_by().values_list("token", "sandbox"))
_CLAIMED = PreparedUpdate(
    lambda: Execution.objects.filter(pk=given("execution"), token=given("token"), state=State.CLAIMED)
)
LADDER = (("INT", 2.0), ("TERM", 3.0))
"""Signals to an agent that is asked to stop, with the seconds it gets after each; then its tree is killed."""
START_AGAIN_SECONDS = (0.5, 2.0, 5.0, 10.0)
"""Between attempts while the database is away; together much less than a lease, and than a task may take."""


def start(row: Execution, *, lease_at: float) -> bool:
    """Prepare a claimed execution's workspace and start its first phase; ends the row when that cannot be.

    Args:
        lease_at: `processes.boottime()` from before the claim, from which the shim counts its lease.

    Returns:
        Whether a process runs now.
    """
    spec = specs.load_spec(row.spec, row.prompt)
    first = phases.before_agent(spec)[0]
    try:
        sandbox = choosing.choose((spec.sandbox, spec.profile.get("sandbox")), conf())
        _prepare(row.pk, spec)
        where = {"phase": first.name, "sandbox": sandbox.name}
        if not _CLAIMED.run(where, execution=row.pk, token=row.token):
            return False
        row.sandbox = sandbox.name
        started = start_phase(row.pk, spec, first, lease_at=lease_at)
    except (GridError, OSError) as error:
        log.warning("launch failed", extra={"action": "launch", "execution_id": str(row.pk), "error": str(error)})
        reason = f"could not start: {error}"
        result = Result(reason=reason[:500], is_permanent=is_permanent(error))
        executions.end(row.pk, token=row.token, state=State.FAILED, reason=reason, result=result)
        return False
    return started and mark_running(row)


def is_permanent(error: Exception) -> bool:
    """Whether another attempt to start would fail as well."""
    return isinstance(error, LaunchFailedError) and error.permanent


def start_patiently(row: Execution, *, lease_at: float) -> bool:
    """The same for a process that cannot come back to it: while the database is away, a claim of ours is nobody else's."""
    for seconds in START_AGAIN_SECONDS:
        try:
            return start(row, lease_at=lease_at)
        except DatabaseError as error:
            log.warning(
                "launch interrupted", extra={"action": "launch", "execution_id": str(row.pk), "error": str(error)}
            )
            time.sleep(seconds)
            close_old_connections()
    return start(row, lease_at=lease_at)


def mark_running(row: Execution) -> bool:
    """Record that the first phase's process exists."""
    return lifecycle.move(
        row.pk,
        old={State.CLAIMED},
        new=State.RUNNING,
        reason="started, without a sandbox" if row.sandbox == "process" else f"started in {row.sandbox}",
        token=row.token,
        fields={"started_at": Now()},
    )


def start_phase(execution_id: UUID, spec: LaunchSpec, phase: Phase, *, lease_at: float) -> bool:
    """Start one phase under a shim of its own.

    Returns:
        False when this phase was started before (a duplicate launch): whoever did it watches it.

    Raises:
        LaunchFailedError: The program does not exist or may not be run, or the shim failed.
    """
    settings = conf()
    phase_dir = phase_path(execution_id, phase)
    if processes.shim_state(phase_dir) != ShimState.ABSENT:
        return False  # before anything is made anew: another token would shut out the agent that has the first one
    phase_dir.mkdir(parents=True, exist_ok=True)
    shim = _shim_spec(settings, execution_id, spec, phase, phase_dir, lease_at)
    spec_path = processes.write_spec(phase_dir, shim)
    code = processes.start_shim(host_dir=settings.host_dir, spec_path=spec_path, python=settings.python)
    if code == StartCode.FAILED and processes.shim_state(phase_dir) == ShimState.ABSENT:
        raise LaunchFailedError(f"the shim failed; see {phase_dir / 'shim.log'}")
    if code == StartCode.NOT_STARTED:
        log.info(
            "phase not started", extra={"action": "launch", "execution_id": str(execution_id), "phase": phase.name}
        )
    # NOT_STARTED has an exit record that says why; the host reads it like any other end. So it does for a shim that died
    # right after it had begun: that is a crash of the work, not a failure to launch.
    return code != StartCode.ALREADY_USED


def phase_path(execution_id: UUID, phase: Phase) -> Path:
    """The run directory of one phase's shim."""
    return conf().run_dir(execution_id) / "phases" / phase.name


def prepare_checkout(execution_id: UUID, spec: LaunchSpec, commit: str) -> None:
    """Lay out the fresh checkout in which acceptance commands run."""
    settings = conf()
    workspaces.checkout(
        store=settings.store_dir(spec.work.repository), path=settings.run_dir(execution_id) / "verify", commit=commit
    )


def _prepare(execution_id: UUID, spec: LaunchSpec) -> None:
    settings = conf()
    bare = settings.store_dir(spec.work.repository)
    _have_commit(bare, spec.work.source, spec.work.base)
    run_dir = settings.run_dir(execution_id)
    (run_dir / "home" / "tmp").mkdir(parents=True, exist_ok=True)
    if not (run_dir / "workspace").exists():
        workspaces.create(store=bare, path=run_dir / "workspace", base=spec.work.base, branch=spec.work.branch)


@functools.lru_cache(maxsize=1024)
def _have_commit(bare: Path, source: str, commit: str) -> None:
    """See that a commit is in the store; remembered, as stores never lose one. Raises WorkspaceError."""
    store.ensure(bare, source)
    if not store.has_commit(bare, commit):
        store.fetch(bare, source)


def _agent(settings: GridConf, execution_id: UUID, fence: int, spec: LaunchSpec, files: base.RunFiles) -> base.Launch:
    """What the agent's own phase starts, wired to the grid's tools and gateway; makes its bearer token."""
    adapter = registry.get(spec.agent.adapter)
    offers = wiring.wiring_for(spec.profile, settings)
    wired = wiring.wire(adapter, spec.agent.options, offers)
    session = _conversation(settings, execution_id, fence, spec, files)
    prompt = resuming.NOTE.format(workspace=files.workspace) + spec.prompt if session else spec.prompt
    options = resuming.kept(adapter.name, wired.options, home=files.home, session=session)
    launch = adapter.launch(options=options, files=files, prompt=prompt)
    env = {**launch.env, **settings.agent_env, **spec.agent.env, "AGENTGRID_EXECUTION": str(execution_id)}
    if settings.agent_url:
        bearer = bearers.mint(execution_id, fence=fence)
        if not bearer:
            raise LaunchFailedError("the claim is over: somebody else ended it meanwhile")
        env |= {base.URL_ENV: settings.agent_url, **dict.fromkeys((base.TOKEN_ENV, *wired.key_env), bearer)}
        if offers.grid_tools:
            env["PATH"] = f"{gridctl.place(files.home, python=files.python)}:{env.get('PATH', files.path)}"
    return replace(launch, env=env)


def _conversation(settings: GridConf, execution_id: UUID, fence: int, spec: LaunchSpec, files: base.RunFiles) -> str:
    """Lay out the conversation that the run is to take up; empty when it begins a new one, which always works."""
    if not spec.continues:
        return ""
    try:
        before = settings.run_dir(UUID(spec.continues))
        session = conversations.carry(before, files.home, adapter=spec.agent.adapter, workspace=files.workspace)
    except (ValueError, OSError) as error:
        log.warning(
            "conversation not carried over",
            extra={"action": "launch", "execution_id": str(execution_id), "error": str(error)[:200]},
        )
        return ""
    if session:
        facts = {"from": spec.continues, "session": session}
        bearers.record(execution_id, fence=fence, events=[("agent.resumed", facts)])
    return session


def _shim_spec(
    settings: GridConf, execution_id: UUID, spec: LaunchSpec, phase: Phase, phase_dir: Path, lease_at: float
) -> ShimSpec:
    run_dir = settings.run_dir(execution_id)
    fence, backend = _FENCE.get(execution=execution_id)
    files = base.RunFiles(
        workspace=run_dir / ("verify" if phase.in_checkout else "workspace"),
        home=run_dir / "home",
        python=settings.python,
        path=settings.agent_path,
    )
    if phase.kind == phases.Kind.AGENT:
        launch = _agent(settings, execution_id, fence, spec, files)
        for name, data in launch.files.items():
            placing.write(files.home, name, data)
        argv, env, prompt, limits = launch.argv, launch.env, launch.prompt, spec.limits
        stdin: Literal["file", "pipe"] = "pipe" if launch.live_input else "file"
    else:
        stdin = "file"
        # Commands of the policy get no variable that only the agent needs, such as a model key.
        argv, prompt, limits = ("/bin/sh", "-c", phase.command), b"", spec.verify_limits
        env = {**base.base_environment(files), "CI": "true"}
    placing.write(phase_dir, "prompt", prompt)
    # The backend of the launch, also when the setting has changed since; set-up and acceptance run the repository's code.
    wrapped: Wrapped = choosing.named(backend or "process", settings).wrap(
        Request(
            execution_id=execution_id,
            fence=fence,
            phase=phase.name,
            phase_dir=phase_dir,
            workspace=files.workspace,
            home=files.home,
            objects=settings.store_dir(spec.work.repository) / "objects",
            argv=argv,
            env=env,
            limits=limits,
            settings=settings,
        )
    )
    return ShimSpec(
        run_dir=phase_dir,
        cwd=wrapped.cwd,
        prompt=phase_dir / "prompt",
        argv=wrapped.argv,
        env=wrapped.env,
        limits={
            "wall_s": limits.wall_seconds,
            "idle_s": limits.idle_seconds,
            "output_bytes": limits.output_bytes,
            "output_stop_bytes": limits.output_stop_bytes,
        },
        rlimits=wrapped.rlimits,
        drop_caps=wrapped.drop_caps,
        stdin=stdin,
        ladder=LADDER,
        lease_at=lease_at,
        lease_ttl_s=settings.lease_seconds,
        fence_margin_s=settings.fence_margin_seconds,
    )
