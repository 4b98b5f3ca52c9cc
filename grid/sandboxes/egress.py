"""Where a sandboxed agent may connect to: rules, pure. Standard library only, as the proxy runs without anything else.

An entry of the allow-list is `host[:port][=address]`: `pypi.org`, `*.npmjs.org` (below it, not itself), `mirror.lan:8443=10.0.0.7`.
The port is 443 unless it is named. A host that is not given an address must have public ones only.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

HTTPS = 443
GRID_PATHS = ("/mcp", "/api/agent/", "/gateway/", "/livez")
"""Of the web process. The admin, the dashboard and webhooks are not for agents."""
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?$")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the allow-list."""

    host: str
    """Lower case; may begin with `*.`."""
    port: int = HTTPS
    address: str = ""
    """Connect there, whatever the host's name means and wherever it is; empty: ask for it, public addresses only."""
    is_grid: bool = False
    """Whether it is the web process over plain HTTP, of which only GRID_PATHS may be asked for."""

    def allows(self, host: str, port: int) -> bool:
        """Whether this entry covers a place."""
        if port != self.port:
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A port of the sandbox's own 127.0.0.1 that leads to an address of ours."""

    port: int
    host: str
    is_grid: bool = False
    """Whether it is the web process, of which only GRID_PATHS may be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one execution may reach."""

    execution: str
    entries: tuple[Entry, ...] = ()
    doors: tuple[Door, ...] = field(default=())

    def to_json(self) -> str:
        """For the proxy."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Rules:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError."""
        data: Mapping[str, Any] = json.loads(text)
        return cls(
            execution=str(data["execution"]),
            entries=tuple(Entry(**entry) for entry in data["entries"]),
            doors=tuple(Door(**door) for door in data["doors"]),
        )

    def entry_for(self, host: str, port: int) -> Entry | None:
        """The entry that allows a place."""
        return next((entry for entry in self.entries if entry.allows(host, port)), None)


def parse_entry(text: str) -> Entry:
    """Read one entry of the allow-list. Raises ValueError with words for an operator."""
    place, _, address = text.strip().lower().partition("=")
    host, port = split_place(place, default=HTTPS)
    literal = _address(host)
    if literal is None and not _HOST.match(host):
        raise ValueError(f"{text!r} is no host: write `pypi.org`, `*.npmjs.org` or `mirror.lan:8443=10.0.0.7`")
    if address and _address(address) is None:
        raise ValueError(f"{text!r}: after `=` stands an IP address")
    return Entry(host=host, port=port, address=address or (host if literal else ""))


def split_place(place: str, *, default: int) -> tuple[str, int]:
    """Host, in lower case and without brackets or last dot, and port. Raises ValueError."""
    host, port = place.lower(), str(default)
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else str(default)
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{place!r}: {port!r} is no port")
    return host.removesuffix("."), int(port)


def is_loopback(host: str) -> bool:
    """Whether a name of the allow-list, or of the grid, means this machine."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def refused_address(addresses: Iterable[str]) -> str:
    """The first address that is not a public one, empty when all are: private, link-local, metadata, our own machine."""
    for text in addresses:
        address = _address(text.partition("%")[0])
        if address is None or not _is_public(address):
            return text
    return ""


def is_grid_path(target: str) -> bool:
    """Whether a request target of the web process is one for agents."""
    path = target.partition("?")[0]
    if ".." in path or "%" in path or "//" in path or "\\" in path:
        return False
    return any(path == allowed.rstrip("/") or path.startswith(allowed.rstrip("/") + "/") for allowed in GRID_PATHS)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
