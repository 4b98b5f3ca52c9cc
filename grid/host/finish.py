"""What follows when a phase has ended: harvest, the next phase, or the execution's end."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from grid import changing, conversations, executions, launching, phases, processes, removal, specs, wiring, workspaces
from grid.agents import outcome, registry
from grid.agents.base import Verdict
from grid.agents.errors import InvalidOutcomeError
from grid.conf import conf
from grid.host.watch import Watch
from grid.models import Execution
from grid.phases import Ended, Kind, Phase
from grid.processes import ShimState
from grid.public_errors import GridError
from grid.public_types import CONTINUED, ON_HOST, Check, Outcome, OutcomeKind, Result, State
from grid.sandboxes import network

log = logging.getLogger(__name__)
TAIL_CHARS = 4000
EXIT_GRACE_SECONDS = 10.0
"""For a shim to be gone after its last record: milliseconds, but a machine at its limits may not let it run for seconds."""


def phase_ended(watch: Watch, ended: Ended, *, lease_at: float) -> None:
    """Act on the end of one phase; leaves the execution either in its next phase or in a terminal state."""
    row = executions.row(watch.id)
    if row is None or row.token != watch.token or row.state not in ON_HOST or row.phase != watch.phase.name:
        return  # fenced, or somebody went on already: a watch may have been made from a row read a moment too early
    if _outlives(watch):
        ended = Ended(reason="shim_failed", error="its exit record was forged: it went on running")
    match watch.phase.kind:
        case Kind.SETUP:
            _after_setup(row, watch, ended, lease_at=lease_at)
        case Kind.AGENT:
            _after_agent(row, watch, ended, lease_at=lease_at)
        case Kind.VERIFY_SETUP | Kind.VERIFY:
            _after_check(row, watch, ended, lease_at=lease_at)


def begin_again(watch: Watch, *, lease_at: float) -> None:
    """Start a phase that is written on the row and was never begun."""
    row = Execution.objects.get(pk=watch.id)
    if row.token == watch.token and row.state in ON_HOST and row.phase == watch.phase.name:
        _next_phase(row, watch, watch.phase, lease_at=lease_at)


def _outlives(watch: Watch) -> bool:
    """Whether the shim lives on although its spool says that all is over; then it is ended, with all below it."""
    deadline = processes.boottime() + EXIT_GRACE_SECONDS
    while processes.shim_state(watch.run_dir) == ShimState.ALIVE:
        if processes.boottime() > deadline:
            processes.end_shim(watch.run_dir)
            return True
        time.sleep(processes.LOOK_SECONDS)
    return False


def _after_setup(row: Execution, watch: Watch, ended: Ended, *, lease_at: float) -> None:
    if ended.ok:
        _next_phase(row, watch, phases.following(watch.spec, watch.phase), lease_at=lease_at)
        return
    state = phases.interruption(ended) or State.FAILED
    reason = f"set-up failed: {watch.phase.command[:200]} ({ended.in_words()})"
    _end(row, _crashed(row, state), reason, Result(reason=reason))


def _after_agent(row: Execution, watch: Watch, ended: Ended, *, lease_at: float) -> None:
    settings = conf()
    workspace = settings.run_dir(row.pk) / "workspace"
    report = _report(row, watch)
    try:
        harvest = workspaces.harvest(
            store=settings.store_dir(watch.spec.work.repository),
            workspace=workspace,
            execution=str(row.pk),
            base=watch.spec.work.base,
            branch=watch.spec.work.branch,
            message=_message(watch, report if isinstance(report, Outcome) else None),
        )
    except GridError as error:
        reason = f"the work could not be taken out of {workspace}: {error}"
        # The folder stays: the work is in it and a person may want it.
        _end(row, State.FAILED, reason, Result(reason=reason[:500]), keep_workspace=True)
        return
    result = Result(
        head=harvest.head, changed=harvest.changed, exit_code=ended.exit_code, exit_signal=ended.exit_signal
    )
    state = phases.interruption(ended)
    finished = _finished(row, state, report)
    if state is not None and finished is None:
        said = report if isinstance(report, Outcome) else None
        _end(row, _crashed(row, state), ended.in_words(), replace(result, outcome=said, reason=ended.in_words()))
        return
    verdict = (
        Verdict(ok=True, outcome=finished, reason="")
        if finished is not None
        else registry.get(watch.spec.agent.adapter).verdict(
            parser=watch.parser,
            ended=ended,
            outcome_file=report,
            # What the conversation brought forth before it was stopped is where this run began.
            changed=harvest.changed or executions.left_work(watch.spec.continues),
        )
    )
    verdict = _connected(row, watch, verdict)
    result = replace(result, outcome=verdict.outcome, reason=verdict.reason[:500])
    if not verdict.ok or verdict.outcome is None or verdict.outcome.kind == OutcomeKind.FAILED:
        _end(row, State.FAILED, verdict.reason or "the agent reported a failure", result)
        return
    checks = phases.after_agent(watch.spec, verdict.outcome.kind)
    if not checks:
        _end(row, State.SUCCEEDED, verdict.outcome.kind, result)
        return
    launching.prepare_checkout(row.pk, watch.spec, harvest.head)
    _next_phase(row, watch, checks[0], lease_at=lease_at, progress=specs.dump_result(result))


def _finished(row: Execution, state: State | None, report: Outcome | InvalidOutcomeError | None) -> Outcome | None:
    """The report of an agent that was done when its money ended, which is no reason to throw its work away; else None.

    The stop is taken back: the checks of the work ask no model. A cancel that comes now counts.
    """
    if state != State.OVER_BUDGET or not isinstance(report, Outcome) or report.kind != OutcomeKind.DONE:
        return None
    ours = Execution.objects.filter(pk=row.pk, token=row.token, state__in=sorted(ON_HOST))
    changing.change(ours.filter(stop_reason=State.OVER_BUDGET), kind="task.stop-taken-back", stop_reason="")
    return report


def _connected(row: Execution, watch: Watch, verdict: Verdict) -> Verdict:
    """The verdict on a run that was offered our tools: bad when it never came for them, unless it asks a person anyway."""
    if not verdict.ok or verdict.outcome is None or verdict.outcome.kind == OutcomeKind.BLOCKED:
        return verdict
    offers = wiring.wiring_for(watch.spec.profile, conf())
    connects = registry.get(watch.spec.agent.adapter).connects
    why = wiring.unconnected(offers, connects=connects, has_connected=row.connected_at is not None)
    return replace(verdict, ok=False, reason=why) if why else verdict


def _after_check(row: Execution, watch: Watch, ended: Ended, *, lease_at: float) -> None:
    result = specs.load_result(row.progress)
    state = phases.interruption(ended)
    if state is not None and state not in (State.TIMED_OUT, State.FAILED):
        _end(row, _crashed(row, state), ended.in_words(), replace(result, reason=ended.in_words()))
        return
    check = Check(
        command=watch.phase.command,
        passed=ended.ok,
        exit_code=ended.exit_code,
        seconds=ended.seconds,
        tail="\n".join(watch.tail)[-TAIL_CHARS:],
    )
    result = replace(result, checks=(*result.checks, check))
    following = phases.following(watch.spec, watch.phase)
    if ended.ok and following is not None:
        _next_phase(row, watch, following, lease_at=lease_at, progress=specs.dump_result(result))
        return
    state, reason = phases.judge(result.checks)
    _end(row, state, reason, replace(result, reason=reason))


def _next_phase(
    row: Execution, watch: Watch, phase: Phase | None, *, lease_at: float, progress: dict[str, Any] | None = None
) -> None:
    if phase is None:
        raise ValueError(f"{watch.phase.name} has no phase after it")
    if phase != watch.phase and not removal.remove(launching.phase_path(row.pk, phase)):
        # Nobody has begun it, so what lies there was planted by an agent with our user id: a spool that says all went well.
        reason = f"{phase.name} could not start: the folder of its run cannot be cleared"
        _end(row, State.FAILED, reason, replace(specs.load_result(progress or row.progress), reason=reason))
        return
    fields: dict[str, Any] = {"phase": phase.name, "record": 0}
    if progress is not None:
        fields["progress"] = progress
    # Not when a stop was asked for meanwhile: then nothing new may start.
    ours = Execution.objects.filter(pk=row.pk, token=row.token, state__in=sorted(ON_HOST))
    if not ours.filter(stop_reason="").update(**fields):
        stop = ours.values_list("stop_reason", flat=True).first()
        if stop:
            result = specs.load_result(progress or row.progress)
            state = phases.interruption(Ended(reason=stop)) or State.CANCELLED
            _end(row, state, f"stopped before {phase.name}: {stop}", replace(result, reason=stop))
        return
    try:
        launching.start_phase(row.pk, watch.spec, phase, lease_at=lease_at)
    except (GridError, OSError) as error:
        reason = f"{phase.name} could not start: {error}"
        result = specs.load_result(progress or row.progress)
        result = replace(result, reason=reason[:500], is_permanent=launching.is_permanent(error))
        _end(row, State.FAILED, reason, result)


def _report(row: Execution, watch: Watch) -> Outcome | InvalidOutcomeError | None:
    """The agent's report, or what is wrong with it; one made by the tool `finish` counts before the file."""
    try:
        if row.report is not None:
            return outcome.parse_outcome(outcome.encode_outcome(row.report))
        return outcome.read_outcome_file(conf().run_dir(watch.id) / "workspace")
    except InvalidOutcomeError as error:
        return error


def _crashed(row: Execution, state: State) -> State:
    return executions.crash_state(row.crashes) if state == State.LOST else state


def _message(watch: Watch, report: Outcome | None) -> str:
    first = (report.summary.strip().splitlines() or [""])[0][:72] if report else ""
    return f"{first or 'Work of ' + watch.spec.work.branch}\n\nExecution: {watch.id}\n"


def _end(row: Execution, state: State, reason: str, result: Result, *, keep_workspace: bool = False) -> None:
    if state in CONTINUED:
        _keep_conversation(row)  # before the row says that it is over: the next run may start at once
    if not executions.end(row.pk, token=row.token, state=state, reason=reason, result=result):
        log.warning("fenced at the end", extra={"action": "end", "execution_id": str(row.pk)})
        return
    network.close(conf(), row.pk)
    if not keep_workspace:
        run_dir = conf().run_dir(row.pk)
        for name in ("workspace", "verify", "home"):
            workspaces.remove(run_dir / name)


def _keep_conversation(row: Execution) -> None:
    """A conversation that cannot be kept makes the next run begin a new one, no more."""
    try:
        conversations.keep(conf().run_dir(row.pk), adapter=row.agent)
    except OSError as error:
        log.warning(
            "conversation not kept",
            extra={"action": "end", "execution_id": str(row.pk), "error": str(error)[:200]},
        )
