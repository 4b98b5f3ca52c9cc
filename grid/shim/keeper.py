"""What a nursery does all day: listen, fork, reap, bury. The protocol is in `grid.shim.nursery`."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys

from grid.shim.calling import PACKET_BYTES, SOCKET, peer
from grid.shim.reaper import ALL_SIGNALS, descendants, is_below, kill_tree, now
from grid.shim.start import FAILED, run_shim
from grid.shim.version import version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

CLIENTS = 64
"""So many may be connected without having asked; the oldest goes first."""
SWEEP_S = 2.0
"""For one attempt at orphans; requests wait so long."""
AGAIN_S = 0.5
"""Until the next attempt at orphans that would not die."""


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
                try:
                    self.handle(fd, event)
                except Exception as error:  # one caller's trouble must not orphan the others' shims
                    sys.excepthook(type(error), error, error.__traceback__)
            if self.terminated:
                self.retire()
            self.reap()
            if self.orphaned:
                self.bury()
        self.retire()

    def handle(self, fd: int, event: int) -> None:
        """Serve one event."""
        if fd == self.wake_in:
            self.drain()
        elif fd in self.clients:
            self.hear(fd, event)
        else:
            self.accept()

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
        except BlockingIOError:
            return  # an event of the descriptor's former owner
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
