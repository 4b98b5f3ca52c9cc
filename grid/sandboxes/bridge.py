"""The first program in a sandbox: opens the doors, starts the agent, ends with it.

    main(["--processes", "N", "--door", "PORT=SOCKET", …, "--", "PROGRAM", "ARGUMENT", …])

The sandbox has a loopback of its own and nothing beyond. What the agent connects to there is carried to a socket outside: the
egress proxy's, which decides. The exit code is the agent's, 128 + n when a signal ended it. Standard library only, and of that only
what starts at once: `_socket` and `_signal` are `socket` and `signal` without their enums, 12 ms of every run.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # known to CPython, not to the stubs
import _socket
import os
import resource
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CHUNK_BYTES = 64 << 10
CONNECT_S = 2.0
CANNOT_RUN = 127
KEPT_BY_US = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Sent to the whole group; the agent acts on them, we wait for it."""


class Pipe:
    """One direction of a connection: reads only when what was read is written."""

    def __init__(self, source: _socket.socket, target: _socket.socket) -> None:
        self.source, self.target = source, target
        self.waiting = b""
        self.ended = False

    def wants(self) -> tuple[_socket.socket, int] | None:
        """Which socket to watch for what; None when this direction is over."""
        if self.waiting:
            return self.target, select.POLLOUT
        return None if self.ended else (self.source, select.POLLIN)

    def move(self) -> None:
        """Do what can be done without waiting. Raises OSError when an end is broken."""
        try:
            if not self.waiting:
                self.waiting = self.source.recv(CHUNK_BYTES)
                if not self.waiting:
                    self.ended = True
                    self.target.shutdown(_socket.SHUT_WR)
                    return
            self.waiting = self.waiting[self.target.send(self.waiting) :]
        except BlockingIOError:
            return


class Bridge:
    """Carries bytes between the sandbox's loopback and the sockets outside, until the agent is dead."""

    def __init__(self, doors: dict[int, str], lifeline: _socket.socket | None) -> None:
        self.listeners: dict[int, tuple[_socket.socket, str]] = {}
        for port, path in doors.items():
            listener = _socket.socket()
            listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(64)
            listener.setblocking(False)
            self.listeners[listener.fileno()] = (listener, path)
        self.pairs: list[tuple[Pipe, Pipe]] = []
        self.lifeline, self.agent = lifeline, 0

    def obey(self, lifeline: _socket.socket) -> bool:
        """Pass a signal on that the keeper names; False when the keeper is gone, and so must we be."""
        numbers = lifeline.recv(16)
        for number in numbers:
            try:
                os.killpg(self.agent, number)
            except ProcessLookupError:
                break  # it has ended meanwhile
        return bool(numbers)

    def serve(self, wake: int) -> bool:
        """Wait for something and do it; False when nobody keeps us any more."""
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        if self.lifeline:
            poll.register(self.lifeline, select.POLLIN)
        for fd in self.listeners:
            poll.register(fd, select.POLLIN)
        wanted: dict[int, int] = {}
        for pipe in (pipe for pair in self.pairs for pipe in pair):
            if want := pipe.wants():
                wanted[want[0].fileno()] = wanted.get(want[0].fileno(), 0) | want[1]
        for fd, events in wanted.items():
            poll.register(fd, events)
        ready = {fd for fd, _ in poll.poll()}
        if self.lifeline and self.lifeline.fileno() in ready and not self.obey(self.lifeline):
            return False
        if wake in ready:
            os.read(wake, 4096)
        for pair in list(self.pairs):
            self.carry(pair, ready)
        for fd in ready & self.listeners.keys():
            self.accept(*self.listeners[fd])
        return True

    def carry(self, pair: tuple[Pipe, Pipe], ready: set[int]) -> None:
        """Move what can be moved; close a connection that is over in both directions, or broken."""
        try:
            for pipe in pair:
                want = pipe.wants()
                if want and want[0].fileno() in ready:
                    pipe.move()
            over = all(pipe.wants() is None for pipe in pair)
        except OSError:
            over = True
        if over:
            self.pairs.remove(pair)
            pair[0].source.close()
            pair[0].target.close()

    def accept(self, listener: _socket.socket, path: str) -> None:
        """Take one connection; refused at once when nobody is outside."""
        try:
            inner = _socket.socket(fileno=listener._accept()[0])  # type: ignore[attr-defined]
        except OSError:
            return
        outer = _socket.socket(_socket.AF_UNIX)
        try:
            outer.settimeout(CONNECT_S)
            outer.connect(path)
        except OSError:
            inner.close()
            outer.close()
            return
        for end in (inner, outer):
            end.setblocking(False)
        self.pairs.append((Pipe(inner, outer), Pipe(outer, inner)))


def become(argv: list[str], processes: int, *, alone: bool) -> NoReturn:
    """Turn this child into the agent, in a session of its own if no shim can reach our group."""
    try:
        if alone:
            os.setsid()
        if processes:
            resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
        for signum in (*KEPT_BY_US, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(signum, signal.SIG_DFL)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"cannot run {argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def reap(agent: int) -> int | None:
    """Collect the dead; the agent's exit code when it is among them."""
    code = None
    try:
        while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            if found[0] == agent:
                ended = os.waitstatus_to_exitcode(found[1])
                code = ended if ended >= 0 else 128 - ended
    except ChildProcessError:
        pass
    return code


def options(words: list[str]) -> tuple[dict[int, str], int]:
    """Doors by port, and the limit of processes or 0; leaves the agent's command in `words`."""
    doors: dict[int, str] = {}
    processes = 0
    while (word := words.pop(0)) != "--":
        value = words.pop(0)
        if word == "--door":
            port, _, path = value.partition("=")
            doors[int(port)] = path
        elif word == "--processes":
            processes = int(value)
    return doors, processes


def main(words: list[str], lifeline: _socket.socket | None = None) -> int:
    """Run the agent; return its exit code.

    Args:
        words: See above.
        lifeline: To the keeper of our container, who sends signals as bytes; the container ends with it.
    """
    doors, processes = options(words)
    wake, woken = os.pipe()
    for fd in (wake, woken):
        os.set_blocking(fd, False)
    for signum in KEPT_BY_US:
        signal.signal(signum, signal.SIG_IGN)
    bridge = Bridge(doors, lifeline)  # before the agent, which may connect at once
    agent = os.fork()
    if agent == 0:
        become(words, processes, alone=lifeline is not None)
    bridge.agent = agent
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)  # the agent's streams are its own
    while (code := reap(agent)) is None:
        if not bridge.serve(wake):
            return 1
    if lifeline is not None:
        lifeline.send(bytes([code]))  # sooner than the engine tells it
    return code
