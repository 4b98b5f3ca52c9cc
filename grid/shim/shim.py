"""One process around one agent: limits, spool, lease fence, stop ladder, sweep.

Everything the shim knows is in the run directory:
    shim.json      pid, start time, boot id: written before the agent exists, so that any host can adopt it
    spool.jsonl    the records (start, out, err, limit, control, truncated, signal, exit); locked while the shim lives
    control.sock   one JSON datagram for each command: renew, stop, kill, deliver, ping; answered to its sender
    shim.log       a traceback, should the shim itself fail

One clock, CLOCK_BOOTTIME: it never steps, counts suspended time, and all processes of a machine read the same value. So
a renewal says *when* the lease was renewed; one that waited in the socket while the shim was stopped stays old.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal

from grid.shim.agent import spawn
from grid.shim.control import Listener
from grid.shim.limits import FENCE_MARGIN_S, Deadlines
from grid.shim.pipes import Input, output_pipe
from grid.shim.reaper import identity, kill_tree, now
from grid.shim.records import Spool, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CHUNK_BYTES = 64 << 10
"""What a pipe holds."""
DRAIN_S = 1.0
"""For output left in the pipes once everybody is dead."""
LOOK_S = 5.0
"""Poll's clock stands still in a suspend: look at ours at least so often."""
LADDER = (("INT", 2.0), ("TERM", 3.0))
HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Shim:
    """The state of one run. `reason` is set once, by the first thing that ends it."""

    def __init__(self, spec: Mapping[str, Any], keeper: int = 0) -> None:
        self.spec, self.keeper = spec, keeper
        self.limits: Mapping[str, Any] = spec.get("limits", {})
        self.began = now()
        self.deadlines = Deadlines(
            began=self.began,
            limits=self.limits,
            lease_at=spec.get("lease_at", self.began),
            ttl=spec.get("lease_ttl_s", 60),
            margin=spec.get("fence_margin_s", FENCE_MARGIN_S),
        )
        self.steps: list[tuple[str, float]] = []
        self.reason: str | None = None
        self.agent = 0
        self.status: int | str | None = None
        self.swept: dict[str, float] = {"swept": 0, "sweep_s": 0.0, "left": 0}
        self.pending: set[int] = set()
        self.streams: dict[int, Stream] = {}
        self.open: set[int] = set()
        self.poll = select.poll()
        self.spool: Spool | None = None

    def start(self) -> None:
        """Take the run directory, listen, start the agent. Raises FileExistsError for a used directory, or OSError."""
        self.listen_to_signals()
        self.spool = Spool(self.limits.get("output_bytes") or 64 << 20)
        with open("shim.json.new", "w") as file:
            json.dump(identity(), file)
        os.replace("shim.json.new", "shim.json")
        self.control = Listener(self.keeper)
        self.poll.register(self.control, select.POLLIN)
        if self.deadlines.fence <= now():
            self.reason = "fenced"
            raise TimeoutError("the lease was over before the agent started")
        (out_in, out_out), (err_in, err_out) = output_pipe(), output_pipe()
        stdin = os.open(self.spec["prompt"], os.O_RDONLY)
        self.input = Input(self.poll)
        if self.spec.get("stdin") == "pipe":
            stdin = self.input.replace(stdin)
        self.agent = spawn(self.spec, stdin, out_out, err_out)
        for fd in (stdin, out_out, err_out):
            os.close(fd)
        for fd, kind in ((out_in, "out"), (err_in, "err")):
            self.streams[fd] = Stream(kind)
            self.poll.register(fd, select.POLLIN)
        self.open = set(self.streams)
        self.input.feed()
        self.spool.record("start", v=1, shim=os.getpid(), agent=self.agent, boottime=round(self.began, 3))
        os.fdatasync(self.spool.fd)

    def listen_to_signals(self) -> None:
        """Remember signals from now on: before the spool exists, so that none can end us without an exit record."""
        self.wake_fd, wake_out = os.pipe()
        for fd in (self.wake_fd, wake_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        for signum in HANDLED:  # the set keeps them: a storm of SIGCHLD may fill the pipe
            signal.signal(signum, lambda number, _: self.pending.add(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        self.poll.register(self.wake_fd, select.POLLIN)

    def run(self) -> None:
        """Serve until the agent has ended, then leave nothing of it behind and write the exit record."""
        while self.status is None:
            wait = self.deadlines.next(stopping=self.reason is not None) - now()
            wait = max(0.0, min(LOOK_S, wait))
            ready = self.poll.poll(int(1000 * wait) + 1)
            self.check_time()  # first: after a stop or a suspend, old commands do not count
            for fd, _ in ready:
                if fd in self.streams:
                    self.read(fd)
                elif fd == self.input.fd:
                    self.input.feed()
                elif fd == self.wake_fd:
                    self.serve_signals()
                else:
                    self.serve_control()
        self.end()

    def check_time(self) -> None:
        """Act on what is overdue: the lease, a limit, the next step of the ladder."""
        match self.deadlines.overdue(now(), stopping=self.reason is not None):
            case "fence":
                self.stop("fenced", at_once=True)
            case "step":
                self.next_step()
            case str(name):
                self.limit(name)

    def record(self, kind: str, **facts: object) -> None:
        """Write to the spool, if we came so far as to have one."""
        if self.spool is not None:
            self.spool.record(kind, **facts)

    def limit(self, name: str) -> None:
        """Record that a limit was met and stop the agent for it."""
        if self.reason is None:
            self.record("limit", limit=name)
            self.stop(name)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Begin the ladder, or cut it short. The first reason stays."""
        if self.reason is None:
            self.reason, self.steps = reason, list(self.spec.get("ladder", LADDER))
            self.record("signal", reason=reason, at_once=at_once)
        elif not at_once:
            return
        if at_once:
            self.steps = []
        self.next_step()

    def next_step(self) -> None:
        """Signal the agent's group and give it time; after the last step kill the whole tree."""
        if self.status is not None:
            return  # it has ended meanwhile; its number may be another's
        if not self.steps:
            self.sweep()
            return
        name, seconds = self.steps.pop(0)
        for signum in (getattr(signal, f"SIG{name}"), signal.SIGCONT):  # a stopped agent must hear it
            try:
                os.killpg(self.agent, signum)
            except (ProcessLookupError, PermissionError):
                continue
        self.deadlines.step = now() + seconds

    def sweep(self) -> None:
        """Kill everything below us, whatever its session; orphans are ours too, as we are their subreaper."""
        began = now()
        seen, left = kill_tree(os.getpid(), is_empty=self.reap)
        if seen:
            self.swept = {"swept": self.swept["swept"] + seen, "sweep_s": round(now() - began, 4), "left": left}
        if self.status is None:
            self.status = "unkillable"  # another uid, uninterruptible sleep: say so and end

    def reap(self) -> bool:
        """Collect the dead, adopted orphans included; True when no child is left, and so no descendant either."""
        try:
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if found[0] == self.agent:
                    self.status = os.waitstatus_to_exitcode(found[1])
        except ChildProcessError:
            return True
        return False

    def serve_signals(self) -> None:
        """Reap after SIGCHLD; SIGTERM and its like mean that the machine goes away."""
        try:
            os.read(self.wake_fd, CHUNK_BYTES)
        except BlockingIOError:
            pass
        while self.pending:
            if self.pending.pop() == signal.SIGCHLD:
                self.reap()
            else:
                self.stop("interrupted", at_once=self.reason == "interrupted")  # asked twice: hurry

    def read(self, fd: int) -> None:
        """Take one chunk of output; the end of a stream says nothing about the end of the agent."""
        spool = self.spool
        try:
            chunk = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        if not chunk or spool is None:
            self.poll.unregister(fd)
            self.open.discard(fd)
            return
        self.deadlines.heard(now())
        was_full = spool.full
        self.streams[fd].take(chunk, spool)
        spool.flush()
        if spool.full and not was_full:
            spool.record("truncated", bytes=spool.size, disk_full=spool.disk_full)
            if spool.disk_full:
                self.limit("disk")
        if sum(stream.bytes for stream in self.streams.values()) > (self.limits.get("output_stop_bytes") or 1 << 60):
            self.limit("output")

    def serve_control(self) -> None:
        """Obey one command and answer its sender."""
        command, sender = self.control.receive()
        answer: dict[str, Any]
        try:
            answer = {"ok": self.obey(command)}
        except (ValueError, KeyError, TypeError) as error:
            self.record("control", refused=repr(error)[:200])
            answer = {"ok": False, "error": repr(error)[:200]}
        fence_in_s = round(min(self.deadlines.fence - now(), 1e9), 3)
        number = self.spool.number if self.spool else 0
        self.control.answer(answer | {"n": number, "reason": self.reason, "fence_in_s": fence_in_s}, sender)

    def obey(self, command: Mapping[str, Any]) -> bool:
        """Carry out one command; renewals are not recorded, all others are."""
        match command["op"]:
            case "renew":  # `at`: read before the lease was renewed in the database
                self.deadlines.renewed(float(command["at"]), now())
            case "ping":
                pass
            case "stop" | "kill" as op:
                self.record("control", op=op)
                self.stop(str(command.get("reason", "cancelled"))[:40], at_once=op == "kill")
            case "deliver":
                taken = self.input.takes_more
                self.record("control", op="deliver", id=command.get("id"), taken=taken)
                if taken:
                    self.input.add(json.dumps(command["message"]).encode() + b"\n")
                return taken
            case op:
                raise ValueError(command.get("why", f"unknown command {op!r}"))
        return True

    def end(self) -> None:
        """Sweep what the agent left, empty its pipes, write the exit record."""
        self.sweep()
        deadline = now() + DRAIN_S
        while self.open and now() < deadline:
            ready = [fd for fd, _ in self.poll.poll(20) if fd in self.streams]
            for fd in ready:
                self.read(fd)
        if self.spool is not None:
            for stream in self.streams.values():
                stream.finish(self.spool)
            self.spool.flush()
        self.serve_signals()  # a SIGTERM meant for everybody may reach the agent first
        self.write_exit()

    def write_exit(self, error: str | None = None) -> None:
        """The last record: how it ended and what it took."""
        if self.spool is None:
            return
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = self.status if isinstance(self.status, int) else None
        self.spool.full = False
        self.spool.record(
            "exit",
            reason=self.reason or "exited",
            error=error,
            code=code if code is None or code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            wall_s=round(now() - self.began, 3),
            user_s=round(used.ru_utime, 3),
            system_s=round(used.ru_stime, 3),
            max_rss_kib=used.ru_maxrss,
            dropped_bytes=self.spool.dropped,
            **self.swept,
            **{s.kind: {"lines": s.lines, "bytes": s.bytes, "cut": s.cut} for s in self.streams.values()},
        )
        os.fdatasync(self.spool.fd)
        if os.path.exists("control.sock"):
            os.unlink("control.sock")
