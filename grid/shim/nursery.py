"""The nursery: one process for each host directory that forks shims and buries what a killed shim leaves.

    python -I -S grid/shim/nursery.py HOST_DIR [IDLE_S]      returns once it serves; the nursery goes on by itself

A fork of it is ready in a tenth of the time of a cold interpreter and shares its memory. As a child subreaper it inherits
the orphans of a shim that died of SIGKILL, whatever their session or environment, and kills them at once.

Requests: one JSON object in one packet on HOST_DIR/nursery.sock, one answer.
    {"op": "start", "spec": PATH, "version": V}   {"code": N} from the new shim itself, or {"stale": V} if versions differ
    {"op": "ping"}                                {"pid": N, "version": V, "shims": N}
    {"op": "retire"}                              {"pid": N}; gives up socket and lock, stays until its shims are gone

It survives the worker that started it, also SIGINT and SIGHUP. SIGTERM retires it: where everybody is told to go, its shims
stop their agents, and it goes last. Without shims and requests it ends by itself after IDLE_S seconds.
Exit codes of the starter: 0 serving, 75 another one serves this directory, 70 it failed (see HOST_DIR/nursery.log).
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # -I leaves it out

from grid.shim.calling import PACKET_BYTES, SOCKET, peer
from grid.shim.reaper import (
    ALL_SIGNALS,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    descendants,
    is_below,
    kill_tree,
    now,
    prctl,
    set_oom_score,
)
from grid.shim.start import FAILED, in_background, run_shim, settle, write_code
from grid.shim.version import version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

LOCK, LOG = "nursery.lock", "nursery.log"
IDLE_S = 60.0
CLIENTS = 64
"""So many may be connected without having asked; the oldest goes first."""
SWEEP_S = 2.0
"""For one attempt at orphans; requests wait so long."""
AGAIN_S = 0.5
"""Until the next attempt at orphans that would not die."""
OOM_SCORES = (-1000, 0)
"""Lowest first; not every root may go below what it was born with."""
SERVED_ALREADY = 75


class Nursery:
    """Listens, forks, reaps. Runs in the current directory, the host's."""

    def __init__(self, lock: int, idle_s: float) -> None:
        self.lock, self.idle_s = lock, idle_s
        self.version = version()
        self.active_at = now()
        self.retired = self.orphaned = False
        self.shims: set[int] = set()
        self.clients: dict[int, socket.socket] = {}
        self.poll = select.poll()
        self.wake_in, self.wake_out = os.pipe()
        for fd in (self.wake_in, self.wake_out):
            os.set_blocking(fd, False)
        self.poll.register(self.wake_in, select.POLLIN)
        self.terminated = False
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)

    def listen(self) -> None:
        """Serve from now on; the socket appears under its name only when it takes connections."""
        scratch = f"{SOCKET}.{os.getpid()}"
        if os.path.exists(scratch):
            os.unlink(scratch)
        self.listener.bind(scratch)  # relative, as a socket's path ends at 107 bytes
        os.chmod(scratch, 0o600)
        self.listener.listen(CLIENTS)
        os.rename(scratch, SOCKET)
        self.poll.register(self.listener, select.POLLIN)
        signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
        for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # handled by the byte that wakes us
        signal.signal(signal.SIGTERM, self.terminate)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def terminate(self, *_: object) -> None:
        """Remember SIGTERM."""
        self.terminated = True

    def serve(self) -> None:
        """Serve until nothing is left to do."""
        while not self.is_over():
            for fd, event in self.poll.poll(self.wait_ms()):
                if fd == self.wake_in:
                    self.drain()
                elif fd in self.clients:
                    self.hear(fd, event)
                else:
                    self.accept()
            if self.terminated:
                self.retire()
            self.reap()
            if self.orphaned:
                self.bury()
        self.retire()

    def is_over(self) -> bool:
        """Whether there is no shim to mother and nobody who asks."""
        if self.shims or self.orphaned:
            return False
        return self.retired or now() >= self.active_at + self.idle_s

    def wait_ms(self) -> int | None:
        """How long poll may sleep; None means until something happens."""
        if self.orphaned:
            return int(1000 * AGAIN_S)
        if self.shims:
            return None
        return max(0, int(1000 * (self.active_at + self.idle_s - now()))) + 1

    def drain(self) -> None:
        """Empty the pipe that wakes us."""
        try:
            os.read(self.wake_in, 4096)
        except BlockingIOError:
            pass

    def accept(self) -> None:
        """Take a client."""
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # it left meanwhile, or descriptors are short
        client.settimeout(0)
        if len(self.clients) >= CLIENTS:
            self.drop(next(iter(self.clients)))
        self.clients[client.fileno()] = client
        self.poll.register(client, select.POLLIN)

    def drop(self, fd: int) -> None:
        """Forget a client."""
        self.poll.unregister(fd)
        self.clients.pop(fd).close()

    def hear(self, fd: int, event: int) -> None:
        """Answer one request; nothing is started for somebody who has given up waiting."""
        client = self.clients[fd]
        try:
            data = b"" if event & (select.POLLHUP | select.POLLERR) else client.recv(PACKET_BYTES)
        except OSError:
            data = b""
        answer = self.obey(data, client) if data else None
        if answer is not None:
            send(client, answer)
        self.drop(fd)

    def obey(self, data: bytes, client: socket.socket) -> dict[str, Any] | None:
        """Carry out one request; None when a new shim will answer it. Processes below us are agents and are refused."""
        pid, uid = peer(client)
        if pid <= 0 or uid not in (0, os.geteuid()) or is_below(pid, os.getpid()):
            return {"error": f"process {pid} of user {uid} may not ask"}
        self.active_at = now()
        try:
            request = json.loads(data)
            op = request["op"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"error": repr(error)[:200]}
        match op:
            case "ping":
                return {"pid": os.getpid(), "version": self.version, "shims": len(self.shims)}
            case "retire":
                self.retire()
                return {"pid": os.getpid()}
            case "start" if request.get("version") != self.version:
                return {"stale": self.version}
            case "start":
                return self.fork(str(request.get("spec")), client)
        return {"error": f"unknown request {op!r}"[:200]}

    def fork(self, path: str, client: socket.socket) -> dict[str, Any] | None:
        """Become a shim in a child, which answers the client itself."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)  # until the child listens to them as a shim
        keeper = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            return {"code": FAILED, "error": str(error)}
        if pid:
            self.shims.add(pid)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            return None
        try:
            become_shim(path, client, keeper)
        except BaseException as error:  # never return into the nursery's loop
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(FAILED)

    def reap(self) -> None:
        """Collect the dead. A shim that did not end in order may have left orphans, which are ours now."""
        try:
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = found
                if pid in self.shims:
                    self.shims.discard(pid)
                    self.active_at = now()
                    self.orphaned = self.orphaned or status != 0
        except ChildProcessError:
            pass

    def bury(self) -> None:
        """Kill everything below us that no shim of ours keeps."""
        _, left = kill_tree(os.getpid(), keep=self.shims, is_empty=self.has_no_orphans, seconds=SWEEP_S)
        self.orphaned = left > 0

    def has_no_orphans(self) -> bool:
        """Reap, then look."""
        self.reap()
        return not descendants(os.getpid(), self.shims)

    def retire(self) -> None:
        """Serve nobody any more; a successor may take the directory at once."""
        if self.retired:
            return
        self.retired = True
        self.poll.unregister(self.listener)
        self.listener.close()
        try:
            os.unlink(SOCKET)  # ours, as we hold the lock
        except OSError:
            pass
        os.close(self.lock)


def send(client: socket.socket, answer: Mapping[str, Any]) -> None:
    """Answer once; a client that is gone does not need it."""
    try:
        client.send(json.dumps(answer).encode())
    except OSError:
        pass


def become_shim(path: str, client: socket.socket, keeper: int) -> NoReturn:
    """Leave everything of the nursery behind and run one spec."""
    signal.set_wakeup_fd(-1)
    keep = client.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 30)
    gc.enable()

    def answer(code: int) -> None:
        send(client, {"code": code})
        client.close()

    with open(path, "rb") as file:
        spec = json.load(file)
    run_shim(spec, answer=answer, keeper=keeper)


def take_lock() -> int | None:
    """Return the lock of this directory, or None when another nursery holds it."""
    lock = os.open(LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def main(host_dir: str, idle_s: float = IDLE_S) -> NoReturn:
    """Serve one host directory in the background."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
    os.closerange(3, 1 << 30)
    code_out = in_background()
    settle(host_dir, LOG)
    lock = take_lock()
    if lock is None:
        write_code(code_out, SERVED_ALREADY)
        os._exit(0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_DUMPABLE, 0)
    any(set_oom_score("self", score) for score in OOM_SCORES)
    nursery = Nursery(lock, idle_s)
    nursery.listen()
    gc.disable()  # a collection would write to every page, and end the sharing
    gc.collect()
    gc.freeze()
    write_code(code_out, 0)
    nursery.serve()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:3]))
