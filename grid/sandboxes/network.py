"""The network of sandboxed agents, the host's side: rules and sockets of each execution, and the proxy behind them.

host/egress/<execution>/rules.json      what it may reach
host/egress/<execution>/refused.jsonl   what the proxy refused, a line each
host/egress/<execution>/doors/          sockets; shown to the sandbox, nothing else is
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from grid.conf import GridConf
from grid.public_errors import LaunchFailedError
from grid.sandboxes import egress

INSIDE = "/run/agentgrid"
"""Where a sandbox sees its sockets."""
PROXY_PORT = 3128
FIRST_FREE_PORT = 1024
"""Below it only root may listen, which nobody in a sandbox is."""
PROXY = Path(__file__).with_name("proxy.py")
CONTROL = "egress.sock"
_SOURCES = ("proxy.py", "carrying.py", "egress.py")
_TIMEOUT = 5.0
_SERVED = (0, 75)
"""Exit codes of a starter after which some proxy serves."""
_LIBRARY_PATH = "LD_LIBRARY_PATH"
"""Without which some interpreters do not start; nothing else of our environment goes to the proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerDoor:
    """A port of the sandbox's loopback and the socket, as the sandbox sees it, behind it."""

    port: int
    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """An open network."""

    folder: Path
    """Of the sockets; to be shown at INSIDE."""
    doors: tuple[InnerDoor, ...]
    env: Mapping[str, str]


def rules_for(execution_id: UUID, settings: GridConf) -> egress.Rules:
    """What one execution may reach: the grid's own address and the operator's list. Pure.

    Raises:
        LaunchFailedError: An entry of AGENTGRID_EGRESS_ALLOW, or AGENTGRID_AGENT_URL, cannot be read.
    """
    try:
        entries = [egress.parse_entry(text) for text in settings.egress_allow]
        doors = [egress.Door(port=entry.port, host="127.0.0.1") for entry in entries if egress.is_loopback(entry.host)]
        entries = [entry for entry in entries if not egress.is_loopback(entry.host)]
        if settings.agent_url:
            grid = urlsplit(settings.agent_url)
            port = grid.port or (egress.HTTPS if grid.scheme == "https" else 80)
            host = grid.hostname or ""
            if egress.is_loopback(host):
                doors = [egress.Door(port=port, host="127.0.0.1", is_grid=True), *(d for d in doors if d.port != port)]
            else:
                address = socket.gethostbyname(host)  # the operator's own: it may be anywhere
                # First, so that no entry of the list opens more of it. What TLS carries cannot be looked at: there the whole host
                # is open, see docs/sandboxes.md.
                is_plain = grid.scheme == "http"
                entries.insert(0, egress.Entry(host=host, port=port, address=address, is_grid=is_plain))
        if privileged := [door.port for door in doors if door.port < FIRST_FREE_PORT]:
            raise ValueError(
                f"nobody in a sandbox can listen on port {privileged[0]}; use one from {FIRST_FREE_PORT} on"
            )
    except (ValueError, OSError) as error:
        raise LaunchFailedError(
            f"no sandbox without a network: {error}; correct AGENTGRID_EGRESS_ALLOW or AGENTGRID_AGENT_URL",
            permanent=isinstance(error, ValueError),  # a name that cannot be resolved now may be in a minute
        ) from error
    return egress.Rules(execution=str(execution_id), entries=tuple(entries), doors=tuple(doors))


def open_for(execution_id: UUID, settings: GridConf) -> Reach:
    """Have the proxy listen for an execution; its sockets are there when this returns. May be called again.

    Raises:
        LaunchFailedError: The rules cannot be read, or no proxy can be had.
    """
    rules = rules_for(execution_id, settings)
    folder = folder_of(settings, execution_id)
    doors = folder / "doors"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    doors.mkdir(exist_ok=True, mode=0o755)
    scratch = folder / "rules.json.new"
    scratch.write_text(rules.to_json())
    scratch.replace(folder / "rules.json")
    request = {"op": "open", "name": str(execution_id), "version": version()}
    answer = ask(settings.host_dir, request)
    if not answer or not answer.get("ok"):
        if not ensure(settings):
            raise LaunchFailedError(f"no egress proxy could be started; see {settings.host_dir / 'egress.log'}")
        answer = ask(settings.host_dir, request)
    if not answer or not answer.get("ok"):
        raise LaunchFailedError(f"the egress proxy refuses: {answer}; see {settings.host_dir / 'egress.log'}")
    taken = {door.port for door in rules.doors}
    port = next(port for port in range(PROXY_PORT, 65536) if port not in taken)
    url = f"http://127.0.0.1:{port}"
    env = {name: url for base in ("HTTP_PROXY", "HTTPS_PROXY") for name in (base, base.lower())}
    env |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1")
    return Reach(
        folder=doors,
        doors=(
            InnerDoor(port=port, socket=f"{INSIDE}/proxy"),
            *(InnerDoor(port=door.port, socket=f"{INSIDE}/{door.port}") for door in rules.doors),
        ),
        env={**env, "NODE_USE_ENV_PROXY": "1"},
    )


def folder_of(settings: GridConf, execution_id: UUID) -> Path:
    """The network folder of one execution."""
    return settings.host_dir / "egress" / str(execution_id)


def refused_bytes(settings: GridConf, execution_id: UUID) -> int:
    """Size of what the proxy wrote down about an execution; grows when there is news."""
    try:
        return (folder_of(settings, execution_id) / "refused.jsonl").stat().st_size
    except OSError:
        return 0


def refusals(settings: GridConf, execution_id: UUID, *, known: int) -> list[dict[str, Any]]:
    """What the proxy refused an execution beyond the first `known`; the proxy writes a bounded number."""
    try:
        lines = (folder_of(settings, execution_id) / "refused.jsonl").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[known:]]


def close(settings: GridConf, execution_id: UUID) -> None:
    """End an execution's network; does nothing without one."""
    folder = folder_of(settings, execution_id)
    if folder.exists():
        ask(settings.host_dir, {"op": "close", "name": str(execution_id), "version": version()})
        shutil.rmtree(folder, ignore_errors=True)


def opened(settings: GridConf) -> list[UUID]:
    """Executions that have a network folder."""
    folder = settings.host_dir / "egress"
    return [UUID(path.name) for path in folder.iterdir() if len(path.name) == 36] if folder.is_dir() else []


def retire(settings: GridConf) -> None:
    """Let the proxy go, if no execution needs it any more."""
    if not opened(settings):
        ask(settings.host_dir, {"op": "retire"})


def ensure(settings: GridConf) -> bool:
    """Have a proxy of our own version; it opens what it finds. Whether there is one."""
    deadline = time.monotonic() + 2 * _TIMEOUT
    starter = [settings.python, "-I", "-S", str(PROXY), str(settings.host_dir.absolute()), version()]
    env = {_LIBRARY_PATH: value} if (value := _library_path()) else {}
    while time.monotonic() < deadline:
        answer = ask(settings.host_dir, {"op": "ping", "version": version()})
        if answer and answer.get("ok"):
            return True
        if answer:
            ask(settings.host_dir, {"op": "retire"})
        settings.host_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        done = subprocess.run(starter, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        if done.returncode not in _SERVED:
            return False
        time.sleep(0.01)
    return False


@cache
def version() -> str:
    """Changes with the proxy's sources."""
    total = 0
    for name in _SOURCES:
        total = zlib.crc32(PROXY.with_name(name).read_bytes(), total)
    return f"{total:08x}"


def _library_path() -> str:
    return os.environ.get(_LIBRARY_PATH, "")


def ask(host_dir: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """One request to the proxy; None when nobody answers."""
    try:
        directory = os.open(host_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_TIMEOUT)
            client.connect(f"/proc/self/fd/{directory}/{CONTROL}")  # a socket's path ends at 107 bytes
            client.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(client.makefile("rb").readline() or b"null")
    except (OSError, ValueError):
        return None
    finally:
        os.close(directory)
    return answer if isinstance(answer, dict) else None
