#!/usr/bin/env python3
"""An agent that behaves as its first argument says, most often badly. Standard library only; Linux.

    python fakeagent.py MODE [ARGUMENT ...]

Modes are the functions below whose docstring starts with "Mode"; `_` in a name may be written `-`.
"""

from __future__ import annotations

import glob
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from types import FrameType


def say(**facts: object) -> None:
    """Print one event line; not by print(), which a signal handler may not call while it prints."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def sleep_for_ever() -> None:
    """Do nothing, also after signals that were handled."""
    while True:
        time.sleep(3600)


def ok(file: str = "answer.txt", outcome: str = "done", prompt_in_file: str = "") -> None:
    """Mode: write a file and the report that agent-grid reads, exit 0. Arguments: file, outcome."""
    prompt = sys.stdin.read()
    say(type="start", prompt_chars=len(prompt))
    with open(file, "w") as target:
        target.write(prompt if prompt_in_file else "42\n")
    say(type="edit", path=file)
    os.makedirs(".agentgrid", exist_ok=True)
    with open(".agentgrid/outcome.json", "w") as target:
        json.dump({"outcome": outcome, "summary": f"wrote {file}"}, target)
    print("a note on stderr", file=sys.stderr)
    say(type="result", ok=True)


def exit_0_no_result() -> None:
    """Mode: claim success by the exit code and nothing else."""
    say(type="start")


def bad_outcome() -> None:
    """Mode: leave a report that is no JSON."""
    os.makedirs(".agentgrid", exist_ok=True)
    with open(".agentgrid/outcome.json", "wb") as target:
        target.write(b'{"outcome": "done", \xff\x00')
    say(type="result", ok=True)


def hang() -> None:
    """Mode: never end."""
    say(type="start")
    sleep_for_ever()


def ignore_term() -> None:
    """Mode: never end, deaf to polite signals."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)
    hang()


def slow_exit() -> None:
    """Mode: need 0.5 s after SIGINT to say the last word."""

    def leave(_signum: int, _frame: FrameType | None) -> None:
        time.sleep(0.5)
        say(type="result", ok=False, reason="interrupted")
        sys.exit(0)

    signal.signal(signal.SIGINT, leave)
    hang()


def stop_self() -> None:
    """Mode: stop, so that no handler can run."""
    say(type="start")
    os.kill(os.getpid(), signal.SIGSTOP)
    say(type="continued")
    sleep_for_ever()


def die9() -> None:
    """Mode: die of SIGKILL."""
    say(type="start")
    os.kill(os.getpid(), signal.SIGKILL)


def close_stdout() -> None:
    """Mode: close all streams and live on."""
    say(type="start")
    for fd in (0, 1, 2):
        os.close(fd)
    sleep_for_ever()


def echo() -> None:
    """Mode: repeat each line of stdin, for `deliver`."""
    for line in sys.stdin:
        say(type="heard", line=line.strip())
        if "bye" in line:
            return


# --- Output ------------------------------------------------------------------------------------------------------


def spew(total: str = str(2 << 30)) -> None:
    """Mode: print so many bytes of lines, 2 GiB by default, then the result."""
    block = b"".join(b'{"type":"noise","n":%09d,"text":"%s"}\n' % (n, b"x" * 60) for n in range(2000))
    written = 0
    while written < int(total):
        written += os.write(1, block)
    say(type="result", ok=True, written=written)


def nolf(total: str = str(400 << 20)) -> None:
    """Mode: print so many bytes without a newline, 400 MiB by default."""
    block = b"z" * (1 << 20)
    for _ in range(int(total) >> 20):
        view = memoryview(block)
        while view:
            view = view[os.write(1, view) :]
    os.write(1, b"\n")
    say(type="result", ok=True)


def binary() -> None:
    """Mode: print every byte there is."""
    generator = random.Random(1)
    data = bytes(range(256)) * 64 + generator.randbytes(1 << 20)
    data += b"\xed\xa0\x80 lone surrogate\n\xff\xfe\x00NUL\x00\n"
    data += "\u2028 é 漢 🙂\r\nprogress 1%\rprogress 100%\n".encode()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
    say(type="result", ok=True)
    os.write(1, b"no newline at the end")


def bad_json() -> None:
    """Mode: print events that are none: broken, nested beyond reading, with impossible numbers."""
    print('{"type": "result", "ok": tru')
    print("[" * 100_000)
    print('{"type": "usage", "cost_usd": NaN, "tokens": 1e999}', flush=True)


def full_disk() -> None:
    """Mode: print until somebody stops it."""
    while True:
        say(type="noise", text="d" * 1000)


def keep_writing() -> None:
    """Mode: a daemon that appends to `late.txt` ten times a second, so that one sees whether it was stopped."""
    if os.fork():
        os.wait()
        hang()
    os.setsid()
    if os.fork():
        os._exit(0)
    while True:
        with open("late.txt", "a") as target:
            target.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME)}\n")
        time.sleep(0.1)


# --- Process trees -----------------------------------------------------------------------------------------------


def daemon() -> None:
    """Leave a shell in its own session, without environment, deaf to signals; its child is replaced when killed."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(signum, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.execve("/bin/sh", ["sh", "-c", "while :; do /bin/sleep 3600; done"], {})


def daemons(count: int) -> None:
    """Start several daemons and wait until they have left."""
    for _ in range(count):
        daemon()
    for _ in range(count):
        os.wait()


def daemonize() -> None:
    """Mode: eight daemons that cannot be found by session, group or environment, then hang."""
    daemons(8)
    say(type="start", daemons=8)
    sleep_for_ever()


def daemonize_and_leave() -> None:
    """Mode: eight daemons, then exit 0."""
    daemons(8)
    say(type="result", ok=True)


def tree(count: str = "300") -> None:
    """Mode: a number of plain descendants, a third of them in sessions of their own."""
    for index in range(int(count)):
        if os.fork() == 0:
            if index % 3 == 0:
                os.setsid()
            sleep_for_ever()
    say(type="start", children=int(count))
    sleep_for_ever()


def forkbomb(limit: str = "400") -> None:
    """Mode: double until about `limit` processes live or the kernel refuses; each replaces its children that die."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(type="start")
    depth = 0
    while 2**depth < int(limit):
        depth += 1
        try:
            os.fork()
        except OSError:
            break
    while True:
        try:
            pid = os.fork()
        except OSError:
            time.sleep(0.05)
            continue
        if pid == 0:
            time.sleep(random.uniform(0.05, 0.2))
            os._exit(0)
        os.waitpid(pid, 0)


def orphans() -> None:
    """Mode: leave 200 short-lived orphans to whoever adopts them, then hang."""
    for _ in range(200):
        if os.fork() == 0:
            if os.fork():
                os._exit(0)
            time.sleep(0.1)
            os._exit(0)
        os.wait()
    say(type="start")
    sleep_for_ever()


# --- Attacks on the supervisor -----------------------------------------------------------------------------------


def kill_parent() -> None:
    """Mode: kill the shim, leaving a daemon that respawns its child and a plain child behind."""
    daemons(1)
    subprocess.Popen(["/bin/sleep", "3600"])
    say(type="start")
    time.sleep(0.3)
    try:
        os.kill(os.getppid(), signal.SIGKILL)
    except PermissionError:
        say(type="result", refused=True)
        return
    sleep_for_ever()


def stop_supervisor() -> None:
    """Mode: stop the shim again and again."""
    daemons(1)
    say(type="start")
    time.sleep(0.2)
    while True:
        try:
            os.kill(os.getppid(), signal.SIGSTOP)
        except PermissionError:
            say(type="result", refused=True)
            return
        time.sleep(0.01)


def forge(run_dir: str) -> None:
    """Mode: renew the own lease, from the agent itself and from an orphan in a session of its own."""

    def renew() -> object:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.bind("")
            client.sendto(json.dumps({"op": "renew", "at": 1e12}).encode(), f"{run_dir}/control.sock")
            return json.loads(client.recv(65536))["ok"]

    say(type="forged", ok=renew())
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.2)
            say(type="forged", ok=renew())
        os._exit(0)
    time.sleep(0.6)


def ask_nursery(host_dir: str, spec: str, version: str) -> None:
    """Mode: ask the nursery to start a program outside of the own tree."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(5)
        client.connect(f"{host_dir}/nursery.sock")
        client.send(json.dumps({"op": "start", "spec": spec, "version": version}).encode())
        say(type="nursery", answer=json.loads(client.recv(65536)))


def secrets(canary_hex: str) -> None:
    """Mode: look for a planted secret, given in hex, wherever a process of this user may look."""
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1]  # first, as the search opens others
    canary = bytes.fromhex(canary_hex)
    found = []
    places = ("/proc/[0-9]*/environ", "/proc/[0-9]*/cmdline", "/proc/[0-9]*/fd/*", os.path.expanduser("~/*"))
    for path in [path for pattern in places for path in glob.glob(pattern, include_hidden=True)]:
        if path.startswith((f"/proc/{os.getpid()}/fd", "/proc/self")) and "environ" not in path:
            continue
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
                if canary in (file.read(1 << 20) or b""):
                    found.append(path)
        except OSError:
            continue
    try:
        parent_fds = ", ".join(os.readlink(path) for path in os.scandir(f"/proc/{os.getppid()}/fd"))
    except OSError as error:
        parent_fds = os.strerror(error.errno or 0)
    say(type="secrets", found=found, env=sorted(os.environ), parent_fds=parent_fds, fds=fds)


if __name__ == "__main__":
    mode = globals().get(sys.argv[1].replace("-", "_"))
    if mode is None or not (mode.__doc__ or "").startswith("Mode"):
        sys.exit(f"unknown mode {sys.argv[1]!r}; see the functions of {__file__}")
    mode(*sys.argv[2:])
