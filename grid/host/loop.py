"""The host: one thread that looks after every agent of this machine.

It renews leases, turns spools into events, delivers stops, hands ended phases to a few workers, and fills freed slots.
It may die at any moment: what it knows is in the database and in the run directories, and the next host goes on.
"""

from __future__ import annotations

import logging
import threading
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connection
from django.db.models.functions import Now

from grid import executions, launching, phases, processes, specs
from grid.conf import conf
from grid.host import doubts, finish, identity, orders, walls
from grid.host.errands import Errands, is_away
from grid.host.watch import FencedError, Watch
from grid.models import Execution, Host
from grid.phases import Ended
from grid.processes import ShimState
from grid.public_types import ON_HOST, Result, State
from grid.sandboxes import network
from grid.statements.prepared import Prepared, given

log = logging.getLogger(__name__)
TICK_SECONDS = 0.05
POLLS_PER_TICK = 8
"""About 8 MiB of one spool; a chatty agent must not starve the others."""
MAX_BEAT_SECONDS = 5.0
MAX_FAILURES = 6
CONTAINERS_SECONDS = 60.0
_COLUMNS = ("token", "state", "phase", "stop_reason", "crashes", "record", "root", "sandbox", "inbox_count")
_SPEC = Prepared(lambda: Execution.objects.filter(pk=given("execution")).order_by().values_list("spec", "prompt"))
_ROWS = Prepared(
    lambda: Execution.objects.only(*_COLUMNS).filter(host=given("host"), state__in=sorted(ON_HOST)).order_by()
)


class HostLoop:
    """Supervises the executions of one host until told to drain."""

    def __init__(self, *, name: str, slots: int) -> None:
        self.name, self.slots = name, slots
        self.watches: dict[UUID, Watch] = {}
        self.unstarted: set[UUID] = set()
        self.thread = threading.Thread(target=self._run, name="grid-host", daemon=True)
        self.wake, self.draining, self.stopped = threading.Event(), threading.Event(), threading.Event()
        self.errands = Errands(threads=max(2, min(slots, 4)), when_done=self.wake.set)
        self.beat_due = self.containers_due = 0.0
        self.renewed_at = processes.boottime()
        self.kill_at: float | None = None
        self.is_machine_going = False

    def start(self) -> None:
        """Announce the host and begin."""
        boot = identity.boot_id()
        Host.objects.update_or_create(
            pk=self.name,
            defaults={
                "slots": self.slots,
                "pid": identity.own_pid(),
                "boot_id": boot,
                "started_at": Now(),
                "heartbeat_at": Now(),
                "draining_at": None,
                "note": identity.isolation_note(conf()),
            },
        )
        # Before the worker consumes: a claim without a process can only be the last worker's.
        self._adopt(self._rows(), is_start=True)
        self._keep_nursery()
        self.thread.start()

    def drain(self, *, seconds: float) -> None:
        """Stop taking work, ask every agent to checkpoint, and return when all have ended or time is up.

        Executions that did not end keep their row; their lease runs out and the sweep calls them lost.
        """
        self.kill_at = processes.boottime() + seconds * 0.6
        self.draining.set()
        self.wake.set()
        self.thread.join(seconds)
        self.stopped.set()
        self.errands.close()
        processes.retire_nursery(conf().host_dir)
        network.retire(conf())

    def _run(self) -> None:
        failures = 0
        while not self.stopped.is_set():
            try:
                self._tick()
                failures = 0
            except DatabaseError as error:
                failures += 1
                log.warning(
                    "database trouble", extra={"action": "host", "error": str(error)[:200], "failures": failures}
                )
                connection.close()
            except Exception:
                failures += 1
                log.exception("the host loop met a bug and goes on", extra={"action": "host"})
            if self.draining.is_set() and not failures and not self.watches and not self.errands and self._is_empty():
                break
            self.wake.wait(min(5.0, TICK_SECONDS * 2**failures))
            self.wake.clear()
        connection.close()

    def _tick(self) -> None:
        now = processes.boottime()
        rows = self._rows()
        self._beat(rows, now)
        self._adopt(rows)
        for execution_id, watch in list(self.watches.items()):
            if execution_id not in self.errands:
                self._follow(watch, rows.get(execution_id))
        self._announce(now)
        self._collect()
        if not self.draining.is_set() and not self.is_machine_going and len(rows) < self.slots:
            self._fill(self.slots - len(rows))

    def _announce(self, now: float) -> None:
        """Show whether this host takes work; claims by tasks look at the row."""
        was_going = self.is_machine_going
        self.is_machine_going = doubts.is_machine_going(self.watches.values(), now=now)
        if self.draining.is_set() or self.is_machine_going:
            Host.objects.filter(pk=self.name, draining_at=None).update(draining_at=Now())
        elif was_going:
            Host.objects.filter(pk=self.name).update(draining_at=None)

    def _rows(self) -> dict[UUID, Execution]:
        # Read at every tick: what is needed here, and in no order.
        return {row.pk: row for row in _ROWS.rows(host=self.name)}

    def _beat(self, rows: dict[UUID, Execution], now: float) -> None:
        """Renew every lease in one statement and pass the renewal on to the shims."""
        if now < self.beat_due:
            return
        tokens = {pk: row.token for pk, row in rows.items() if not self._is_stuck(row)}
        at = processes.boottime()
        ours = executions.renew(host=self.name, tokens=tokens, slots=self.slots)
        self.renewed_at, self.beat_due = at, now + conf().heartbeat_seconds
        self._keep_nursery()
        self._keep_walls(rows, now)
        deadline = at + min(conf().heartbeat_seconds / 2, MAX_BEAT_SECONDS)
        # The silent ones last: shims that their agents have stopped must not use up the time of the others.
        for execution_id, watch in sorted(self.watches.items(), key=lambda item: item[1].unanswered):
            if execution_id not in ours or execution_id not in rows:
                self._fence(watch)
            elif execution_id not in self.errands and watch.ended is None and processes.boottime() < deadline:
                orders.renew(watch, at, errands=self.errands)

    def _keep_nursery(self) -> None:
        """Have a warm nursery before the next launch needs it; an unused one ends by itself."""
        if not self.draining.is_set():
            processes.ensure_nursery(host_dir=conf().host_dir, python=conf().python)

    def _keep_walls(self, rows: dict[UUID, Execution], now: float) -> None:
        """Look after the networks and containers of sandboxed runs; both may have outlived theirs."""
        walls.keep_networks(conf(), rows)
        if now >= self.containers_due and walls.HOUSEKEEPING not in self.errands:
            self.containers_due = now + CONTAINERS_SECONDS
            self.errands.send(walls.HOUSEKEEPING, walls.remove_containers, conf())

    def _is_stuck(self, row: Execution) -> bool:
        """A claim whose launcher died: not renewed, so that the sweep ends it."""
        if row.state != State.CLAIMED or row.pk in self.watches or row.pk in self.errands:
            return False
        long_ago = executions.in_seconds(-2 * conf().lease_seconds)
        return Execution.objects.filter(pk=row.pk, claimed_at__lte=long_ago).exists()

    def _adopt(self, rows: dict[UUID, Execution], *, is_start: bool = False) -> None:
        """Begin to watch what runs here and is not watched: new launches, and at start what the last host left."""
        for execution_id, row in rows.items():
            if execution_id in self.watches or execution_id in self.errands:
                continue
            try:
                self._take_up(row, is_start=is_start)
            except Exception as error:
                # Written by a later version of us, perhaps: it must not keep the host from the others.
                if is_away(error):
                    raise
                log.exception("a run beyond us", extra={"action": "adopt", "execution_id": str(execution_id)})
                self._lost(row, f"its host does not understand it: {error!r}"[:500])

    def _take_up(self, row: Execution, *, is_start: bool) -> None:
        if row.pk in self.unstarted:
            self.unstarted.discard(row.pk)
            if row.state == State.CLAIMED:
                self.errands.send(row.pk, self._start, Execution.objects.get(pk=row.pk), self.renewed_at)
                return
        if not row.phase:
            if is_start:
                self._lost(row, "the worker died before the agent was started")
            return
        spec = specs.load_spec(*_SPEC.get(execution=row.pk))
        watch = Watch(row, spec, phases.find(spec, row.phase))
        state = processes.shim_state(watch.run_dir)
        watch.is_inherited = is_start and (state == ShimState.GONE or row.state == State.STOPPING)
        if state == ShimState.ABSENT:
            # While a host runs, only a claim has a phase that nobody begins: whatever failed in between left this one.
            if is_start or row.state != State.CLAIMED:
                self._restart_phase(row, watch)
        elif row.state != State.CLAIMED or launching.mark_running(row):
            self.watches[row.pk] = watch

    def _restart_phase(self, row: Execution, watch: Watch) -> None:
        """Somebody died, or lost the database, between writing the phase and starting it."""
        if row.state == State.CLAIMED:
            self._lost(row, "the worker died before the agent was started")
            return
        self.watches[row.pk] = watch
        self.errands.send(watch.id, self._begin_again, watch)

    def _begin_again(self, watch: Watch) -> None:
        finish.begin_again(watch, lease_at=self.renewed_at)

    def _lost(self, row: Execution, reason: str) -> None:
        state = executions.crash_state(row.crashes)
        executions.end(row.pk, token=row.token, state=state, reason=reason, result=Result(reason=reason))

    def _follow(self, watch: Watch, row: Execution | None) -> None:
        if watch.failures and watch.ended is None and processes.shim_state(watch.run_dir) == ShimState.ABSENT:
            if processes.boottime() >= watch.retry_at:
                self.errands.send(watch.id, self._begin_again, watch)
            return
        try:
            watch.catch_up(polls=POLLS_PER_TICK)
            watch.note_refusals()
            watch.is_over_calls()
        except FencedError:
            self._fence(watch)
            return
        except Exception as error:  # forged or beyond us: one agent's output must not blind the host to all others
            if is_away(error):
                raise
            log.warning("a spool beyond us", exc_info=error, extra={"action": "spool", "execution_id": str(watch.id)})
            processes.end_shim(watch.run_dir)
            watch.ended = Ended(reason="shim_failed", error=str(error)[:300])
        if watch.ended is not None:
            now, asked = processes.boottime(), row.stop_reason if row is not None else ""
            ended = doubts.believed(watch, watch.ended, asked=asked, is_draining=self.draining.is_set(), now=now)
            if ended is not None and now >= watch.retry_at:
                self.errands.send(watch.id, self._finish, watch, ended)
        elif row is not None:
            orders.deliver_stop(watch, row, is_draining=self.draining.is_set(), kill_at=self.kill_at)
            orders.hand_over(watch, row)

    def _finish(self, watch: Watch, ended: Ended) -> None:
        finish.phase_ended(watch, ended, lease_at=self.renewed_at)

    def _fence(self, watch: Watch) -> None:
        """Not ours any more: the agent dies, nothing is written."""
        orders.fence(watch, errands=self.errands)
        self.watches.pop(watch.id, None)

    def _fill(self, free: int) -> None:
        """A freed slot takes the next queued row at once, without waiting for a message."""
        for execution_id in executions.next_queued(limit=free):
            if execution_id not in self.errands:
                self.errands.send(execution_id, self._launch, execution_id)

    def _launch(self, execution_id: UUID) -> None:
        at = processes.boottime()
        row = executions.claim(execution_id, host=self.name)
        if row is not None:
            self._start(row, at)

    def _start(self, row: Execution, at: float) -> None:
        """Launch a claim of ours; a database that goes away meanwhile leaves it to a later tick, as nobody else will."""
        try:
            launching.start(row, lease_at=at)
        except DatabaseError:
            self.unstarted.add(row.pk)
            raise

    def _collect(self) -> None:
        """Forget finished errands; a failed one is tried again at the next tick, as its watch is still there."""
        for execution_id, error in self.errands.collect():
            watch = self.watches.get(execution_id)
            if error is None:
                self.watches.pop(execution_id, None)
                continue
            log.error("an errand failed", exc_info=error, extra={"action": "host", "execution_id": str(execution_id)})
            if watch is not None:
                watch.failures += 1
                watch.retry_at = processes.boottime() + min(30.0, 0.5 * 2**watch.failures)
                if watch.failures >= MAX_FAILURES and not is_away(error):
                    self._give_up(watch, error)

    def _give_up(self, watch: Watch, error: BaseException) -> None:
        reason = f"the grid could not finish it: {error!r}"[:500]
        executions.end(watch.id, token=watch.token, state=State.FAILED, reason=reason, result=Result(reason=reason))
        self.watches.pop(watch.id, None)

    def _is_empty(self) -> bool:
        return not Execution.objects.filter(host=self.name, state__in=sorted(ON_HOST)).exists()
