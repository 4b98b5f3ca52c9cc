"""An agent that tries the walls and tells what it got, as one JSON line. Standard library only, any Python from 3.10 on.

python prisoner.py look PLAN.json      read, write, connect, signal: everything that the plan names
python prisoner.py bomb                fork until it is refused, tell how often it was not
python prisoner.py hoard BYTES COUNT   so many children take so much memory each, tell how many were killed
python prisoner.py wait                start a daemon and wait; on SIGINT write `said` and exit 7
python prisoner.py fetch PLAN.json     ask for addresses, directly and through the proxy
"""

from __future__ import annotations

import glob
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit


def works(act: Callable[..., object], *words: object) -> bool:
    """Whether something can be done."""
    try:
        act(*words)
    except OSError:
        return False
    return True


def read(path: str) -> bytes:
    """A file's beginning."""
    with open(path, "rb") as file:
        return file.read(1 << 20)


def write(path: str) -> None:
    """Open for writing; a setting of the kernel stays as it is."""
    os.close(os.open(path, os.O_WRONLY | (0 if path.startswith("/proc/") else os.O_CREAT)))


def connect(address: list[object]) -> None:
    """Open a TCP connection."""
    socket.create_connection((str(address[0]), int(str(address[1]))), timeout=2).close()


def connect_abstract(name: str) -> None:
    """Open a connection to an abstract socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{name}")


def look(plan_path: str) -> dict[str, object]:
    """Try everything in the plan."""
    with open(plan_path) as file:
        plan = json.load(file)
    canary = plan["canary"].encode()
    status = dict(line.split(":", 1) for line in read("/proc/self/status").decode().splitlines())
    seen = b""
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen += read(path)
        except OSError:
            continue
    return {
        "read": [path for path in plan["read"] if works(read, path)],
        "written": [path for path in plan["write"] if works(write, path)],
        "connected": [address for address in plan["connect"] if works(connect, address)],
        "abstract": works(connect_abstract, plan["abstract"]),
        "signalled": works(os.kill, plan["pid"], 0),
        "processes": len(glob.glob("/proc/[0-9]*")),
        "uid": os.getuid(),
        "capabilities": int(status["CapEff"], 16),
        "ignored": [signum for signum in (1, 2, 3, 15) if int(status["SigIgn"], 16) >> (signum - 1) & 1],
        "in_proc": canary in seen,
        "in_env": any(canary in f"{name}={value}".encode() for name, value in os.environ.items()),
        "prompt": sys.stdin.read(),
        "stdout": works(write, "/proc/self/fd/1"),
    }


def bomb() -> dict[str, object]:
    """Fork until it is refused, at most 3000 times."""
    born = 0
    while born < 3000:
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError:
            break
        born += 1
    return {"born": born}


def hoard(size: str, count: str) -> dict[str, object]:
    """Have children that take memory, one after the other and all at a time."""
    pids = []
    for _ in range(int(count)):
        pid = os.fork()
        if pid == 0:
            taken = bytearray(int(size))
            taken[::4096] = b"x" * len(taken[::4096])
            time.sleep(2)
            os._exit(0)
        pids.append(pid)
    return {"killed": sum(os.WIFSIGNALED(os.waitpid(pid, 0)[1]) for pid in pids)}


def wait() -> dict[str, object]:
    """Wait for SIGINT beside a daemon that does not."""

    def leave(*_: object) -> None:
        with open("said", "w") as file:
            file.write("last words")
        os._exit(7)

    signal.signal(signal.SIGINT, leave)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        while True:
            time.sleep(60)
    os.write(1, b"waiting\n")
    while True:
        time.sleep(60)


def ask_proxy(place: str) -> str:
    """First line of the proxy's answer to CONNECT, and what the place behind it says."""
    proxy = urlsplit(os.environ["HTTPS_PROXY"])
    with socket.create_connection((proxy.hostname, proxy.port), timeout=5) as client:
        client.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        answer = client.recv(4096)
        if b" 200 " not in answer.split(b"\r\n")[0]:
            return answer.split(b"\r\n")[0].decode()
        client.sendall(b"hello\n")
        return client.recv(4096).decode()


def get(url: str) -> str:
    """Status and beginning of an answer, without a proxy."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return f"{answer.status} {answer.read(200).decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code}"
    except OSError as error:
        return type(error).__name__


def fetch(plan_path: str) -> dict[str, object]:
    """Ask for every address in the plan."""
    with open(plan_path) as file:
        plan = json.load(file)
    if plan.get("after"):
        print("ready", flush=True)
        while not os.path.exists(plan["after"]):
            time.sleep(0.02)
    return {
        "connect": {place: ask_proxy(place) for place in plan.get("connect", [])},
        "get": {url: get(url) for url in plan.get("get", [])},
    }


if __name__ == "__main__":
    act, *words = sys.argv[1:]
    print(
        json.dumps({"look": look, "bomb": bomb, "hoard": hoard, "wait": wait, "fetch": fetch}[act](*words)), flush=True
    )
