"""The egress proxy: one process for each host directory, the only way out of its sandboxes.

    python -I -S proxy.py HOST_DIR VERSION      returns 0 once it serves, 75 when another one does

For each `egress/<execution>/rules.json` it listens on sockets in `doors/`: `proxy` speaks CONNECT to allowed hosts, a number leads
to an address of ours. What it needs to know is in these folders, so a new one goes on where a killed one stopped. It outlives
workers and ends when no worker has spoken to it for IDLE_S; by then the shims have killed their agents. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # -I leaves it out

from grid.sandboxes import carrying, egress

SERVED_BY_ANOTHER = 75
CONTROL = "egress.sock"
IDLE_S = 300.0
LINGER_S = 3600.0
"""For connections of a proxy that has been replaced."""
CONNECTIONS = 256
"""Of one execution at a time."""
REFUSALS = 50
"""Written down for one execution."""


class Network:
    """The open sockets of one execution."""

    def __init__(self, folder: Path, rules: egress.Rules) -> None:
        self.folder, self.rules = folder, rules
        self.servers: list[asyncio.Server] = []
        self.live = self.refused = 0
        log = folder / "refused.jsonl"
        self.refused = log.read_bytes().count(b"\n") if log.exists() else 0

    async def listen(self) -> None:
        """Open every socket, in the place of what an earlier proxy left."""
        await self._listen("proxy", self._proxy)
        for door in self.rules.doors:

            async def enter(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: egress.Door = door
            ) -> None:
                await self._door(door, reader, writer)

            await self._listen(str(door.port), enter)

    async def _listen(self, name: str, handle: Callable[..., Awaitable[None]]) -> None:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self.live >= CONNECTIONS:
                self.note(carrying.RefusedError(name, f"more than {CONNECTIONS} connections at a time"))
                writer.close()
                return
            self.live += 1
            try:
                await handle(reader, writer)
            except carrying.RefusedError as refused:
                self.note(refused)
                await carrying.answer(writer, refused.status, refused.why)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                await carrying.answer(writer, "502 Bad Gateway", f"agent-grid: {str(error) or type(error).__name__}")
            finally:
                self.live -= 1
                writer.close()

        # Open to all users: only one sandbox sees this folder, and there the agent may be another user than we.
        listener = carrying.bound(self.folder / "doors", name, mode=0o666)
        self.servers.append(await asyncio.start_unix_server(served, sock=listener, limit=carrying.HEAD_BYTES))

    def close(self) -> None:
        """Take no more connections; those there are go on."""
        for server in self.servers:
            server.close()

    def note(self, refused: carrying.RefusedError) -> None:
        """Write a refusal down, a bounded number of them."""
        self.refused += 1
        if self.refused > REFUSALS:
            return
        facts: dict[str, Any] = {"host": refused.place[:300], "why": refused.why[:300]}
        if self.refused == REFUSALS:
            facts["last"] = "later ones are not written down"
        with contextlib.suppress(OSError):
            fd = os.open(self.folder / "refused.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(fd, json.dumps(facts).encode() + b"\n")
            finally:
                os.close(fd)

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """CONNECT to an allowed host, or plain HTTP to the grid for a client that knows no NO_PROXY."""
        method, target, head = await carrying.read_head(reader)
        if method == "CONNECT":
            await self._tunnel(*carrying.place_of(target, egress.HTTPS), (reader, writer))
            return
        scheme, _, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        if scheme != "http" or not authority:
            raise carrying.RefusedError(target, "a proxy takes CONNECT, or http:// to the grid", "400 Bad Request")
        host, port = carrying.place_of(authority, 80)
        grid = next((door for door in self.rules.doors if door.is_grid and door.port == port), None)
        if grid is not None and egress.is_loopback(host):
            await self._ask_grid(grid.host, port, (method, slash + path, head), (reader, writer))
            return
        entry = self.rules.entry_for(host, port)
        if entry is not None and entry.is_grid:
            await self._ask_grid(entry.address, port, (method, slash + path, head), (reader, writer))
            return
        if entry is None:
            raise carrying.RefusedError(
                f"{host}:{port}", "plain HTTP goes to the grid only; use https with an allowed host"
            )
        upstream = await self._connect(host, port)
        upstream[1].write(carrying.request_head(method, slash + path or "/", head))
        await carrying.carry((reader, writer), upstream)

    async def _tunnel(self, host: str, port: int, client: carrying.Streams) -> None:
        """Bytes as they are to an allowed host; to the web process one request, which some clients send so although it is plain."""
        established = b"HTTP/1.1 200 Connection established\r\n\r\n"
        entry = self.rules.entry_for(host, port)
        if entry is not None and entry.is_grid:
            client[1].write(established)
            await self._ask_grid(entry.address, port, await carrying.read_head(client[0]), client)
            return
        upstream = await self._connect(host, port)
        client[1].write(established)
        await carrying.carry(client, upstream)

    async def _door(self, door: egress.Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A port of the sandbox's loopback: as it is, or one request at a time to the web process."""
        if door.is_grid:
            await self._ask_grid(door.host, door.port, await carrying.read_head(reader), (reader, writer))
            return
        await carrying.carry((reader, writer), await carrying.opened(door.host, door.port))

    async def _ask_grid(
        self, host: str, port: int, request: tuple[str, str, list[bytes]], client: carrying.Streams
    ) -> None:
        method, target, head = request
        if not egress.is_grid_path(target):
            raise carrying.RefusedError(f"{host}:{port}{target[:100]}", "not a path of the grid for agents")
        upstream = await carrying.opened(host, port)
        upstream[1].write(carrying.request_head(method, target, head))
        await carrying.carry(client, upstream)

    async def _connect(self, host: str, port: int) -> carrying.Streams:
        """A connection to an allowed host: resolved here, once, and connected to that very address."""
        place = f"{host}:{port}"
        entry = self.rules.entry_for(host, port)
        if entry is None:
            raise carrying.RefusedError(
                place, f"agent-grid: {place} is not allowed; an operator may add it to AGENTGRID_EGRESS_ALLOW"
            )
        if entry.address:
            return await carrying.opened(entry.address, port)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if private := egress.refused_address(addresses):
            raise carrying.RefusedError(place, f"agent-grid: {host} leads to {private}, which is not a public address")
        error: Exception | None = None
        for address in addresses[:4]:
            try:
                return await carrying.opened(address, port)
            except (OSError, TimeoutError) as failed:
                error = failed
        raise OSError(f"{place} does not answer: {error}")


class Proxy:
    """All networks of one host directory."""

    def __init__(self, host_dir: Path, version: str) -> None:
        self.host_dir, self.version = host_dir, version
        self.networks: dict[str, Network] = {}
        self.heard_at = time.monotonic()
        self.retired = asyncio.Event()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until retired or forgotten."""
        for folder in sorted((self.host_dir / "egress").glob("*/rules.json")):
            await self.open(folder.parent.name)
        control = await asyncio.start_unix_server(self.hear, sock=carrying.bound(self.host_dir, CONTROL))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.retired.set)
        ready()
        while not self.retired.is_set() and time.monotonic() < self.heard_at + IDLE_S:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.retired.wait(), 5.0)
            for name in [name for name, network in self.networks.items() if not network.folder.exists()]:
                self.networks.pop(name).close()
        control.close()
        for network in self.networks.values():
            network.close()

    async def linger(self) -> None:
        """Let what is connected end; somebody else listens now."""
        deadline = time.monotonic() + LINGER_S
        while any(network.live for network in self.networks.values()) and time.monotonic() < deadline:
            await asyncio.sleep(1.0)

    async def open(self, name: str) -> bool:
        """Listen for one execution; once, however often it is asked for."""
        folder = self.host_dir / "egress" / name
        try:
            rules = egress.Rules.from_json((folder / "rules.json").read_text())
            known = self.networks.get(name)
            if known is not None and known.rules == rules:
                return True
            if known is not None:
                known.close()
            self.networks[name] = Network(folder, rules)
            await self.networks[name].listen()
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{name} cannot be opened: {error!r}", file=sys.stderr)
            return False
        return True

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request of a worker."""
        try:
            request = json.loads(await asyncio.wait_for(reader.readline(), carrying.HEAD_S))
            writer.write(json.dumps(await self.obey(request)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, TimeoutError, KeyError, TypeError):
            return
        finally:
            writer.close()

    async def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        self.heard_at = time.monotonic()
        name = str(request.get("name", ""))
        if request["op"] == "retire":
            self.retired.set()
        elif request.get("version") != self.version:
            return {"ok": False, "version": self.version}
        elif request["op"] == "open":
            return {"ok": os.path.basename(name) == name and await self.open(name)}
        elif request["op"] == "close" and (network := self.networks.pop(name, None)):
            network.close()
        return {"ok": True, "pid": os.getpid()}


def main(host_dir: Path, version: str) -> int:
    """Go to the background; the starter returns once the child serves."""
    os.chdir(host_dir)
    os.umask(0o077)
    lock = os.open("egress.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return SERVED_BY_ANOTHER
    heard, told = os.pipe()
    if os.fork():
        os.close(told)
        return (os.read(heard, 1) or b"\x01")[0]
    os.setsid()
    log, null = os.open("egress.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), os.open(os.devnull, os.O_RDWR)
    for fd, target in ((null, 0), (null, 1), (log, 2)):
        os.dup2(fd, target)

    async def run() -> None:
        proxy = Proxy(host_dir, version)
        await proxy.serve(lambda: os.close(told) if os.write(told, b"\0") else None)
        fcntl.flock(lock, fcntl.LOCK_UN)  # a successor may serve
        await proxy.linger()

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
