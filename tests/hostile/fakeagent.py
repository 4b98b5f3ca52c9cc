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
import stat
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


def strange_outcome() -> None:
    """Mode: a change, and a report full of what databases and terminals dislike."""
    odd = "NUL \x00, lone surrogate \ud800, \x1b[2J\x1b]0;title\x07, \u202e, \U0001f980 "
    with open("odd.txt", "wb") as target:
        target.write(bytes(range(256)))
    with open(b"\xff name \n.bin", "wb") as target:
        target.write(b"\0")
    os.makedirs(".agentgrid", exist_ok=True)
    with open(".agentgrid/outcome.json", "w") as target:
        json.dump({"outcome": "done", "summary": odd * 20, "comment": odd}, target)
    say(type="result", ok=True, text=odd)


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


def deep_files(depth: str = "3000") -> None:
    """Mode: a change, folders deeper than a path may be long, and a file that nobody may read."""
    with open("answer.txt", "w") as target:
        target.write("42\n")
    with open("locked.txt", "w") as target:
        target.write("x\n")
    os.chmod("locked.txt", 0)
    os.mkfifo("pipe")
    for _ in range(int(depth)):
        os.mkdir("d")
        os.chdir("d")
    say(type="result", ok=True)


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


def scatter(mark: str) -> None:
    """Mode: a daemon that left the workspace, its session and its environment; `mark` is in its command line."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            script = "trap '' TERM INT HUP; while :; do /bin/sleep 3600; done"
            os.execve("/bin/sh", ["sh", "-c", script, mark], {})
        os._exit(0)
    os.wait()
    say(type="start", mark=mark)
    sleep_for_ever()


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


def term_parent() -> None:
    """Mode: commit nothing, and have the shim believe that the machine goes down."""
    say(type="start")
    time.sleep(0.2)
    try:
        os.kill(os.getppid(), signal.SIGTERM)
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


def forge_exit(mark: str) -> None:
    """Mode: claim in the own spool that all is over and well, and go on working in the dark."""
    _forge(json.dumps({"n": 99, "t": "exit", "reason": "exited", "code": 0, "signal": None}), mark)


def forge_nonsense() -> None:
    """Mode: write a record into the own spool that no shim would write, to make its reader stumble."""
    _forge(json.dumps({"n": 99, "t": "exit", "reason": [], "wall_s": "nonsense"}))


def forge_garbage() -> None:
    """Mode: write into the own spool what is no record at all."""
    _forge("\x00 garbage")


def _forge(line: str, mark: str = "") -> None:
    spool = os.path.join(os.path.dirname(os.path.expanduser("~")), "phases", "agent", "spool.jsonl")
    with open("answer.txt", "w") as target:
        target.write("42\n")
    say(type="start", mark=mark)
    time.sleep(0.3)
    with open(spool, "a") as target:
        target.write(f"{line}\n")
    sleep_for_ever()


def ask_nursery(host_dir: str, spec: str, version: str) -> None:
    """Mode: ask the nursery to start a program outside of the own tree."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(5)
        client.connect(f"{host_dir}/nursery.sock")
        client.send(json.dumps({"op": "start", "spec": spec, "version": version}).encode())
        say(type="nursery", answer=json.loads(client.recv(65536)))


def secrets(canary_hex: str, *folders: str) -> None:
    """Mode: look for a planted secret, given in hex, wherever a process of this user may look.

    That is: environment and command line of every process, its open files, HOME, git's configuration and whatever
    lies in `folders`. Says besides which processes let their environment be read.
    """
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1]  # first, as the search opens others
    canary = bytes.fromhex(canary_hex)
    places = ("/proc/[0-9]*/environ", "/proc/[0-9]*/cmdline", "/proc/[0-9]*/fd/*", os.path.expanduser("~/*"))
    paths = [path for pattern in places for path in glob.glob(pattern, include_hidden=True)]
    paths = [
        path for path in paths if "environ" in path or not path.startswith((f"/proc/{os.getpid()}/fd", "/proc/self"))
    ]
    found = [path for path in [*paths, *_files_below(*folders)] if canary in _regular(path)]
    config = subprocess.run(["/bin/sh", "-c", "git config --list"], capture_output=True, check=False)
    if canary in config.stdout:
        found.append("git config")
    try:
        parent_fds = ", ".join(os.readlink(path) for path in os.scandir(f"/proc/{os.getppid()}/fd"))
    except OSError as error:
        parent_fds = os.strerror(error.errno or 0)
    readable = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _opens(f"/proc/{pid}/environ")]
    say(type="secrets", found=found, env=sorted(os.environ), parent_fds=parent_fds, fds=fds, readable=readable)


def _files_below(*folders: str) -> list[str]:
    return [os.path.join(top, name) for folder in folders for top, _, names in os.walk(folder) for name in names]


def _regular(path: str, limit: int = 64 << 20) -> bytes:
    """The start of a regular file; nothing of a pipe or a terminal, where it would be missing to its reader."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            return file.read(limit) or b""
    except OSError:
        return b""


def _opens(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    mode = globals().get(sys.argv[1].replace("-", "_"))
    if mode is None or not (mode.__doc__ or "").startswith("Mode"):
        sys.exit(f"unknown mode {sys.argv[1]!r}; see the functions of {__file__}")
    mode(*sys.argv[2:])
