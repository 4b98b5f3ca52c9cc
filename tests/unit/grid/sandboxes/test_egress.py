"""Where agents may connect to, as values."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from grid.conf import conf
from grid.public_errors import LaunchFailedError
from grid.sandboxes import carrying, egress, network, proxy


@pytest.mark.parametrize(
    ("entry", "host", "port", "allowed"),
    [
        ("pypi.org", "pypi.org", 443, True),
        ("PyPI.org", "pypi.org", 443, True),
        ("pypi.org", "pypi.org", 80, False),
        ("pypi.org", "files.pypi.org", 443, False),
        ("pypi.org", "pypi.org.evil.test", 443, False),
        ("*.npmjs.org", "registry.npmjs.org", 443, True),
        ("*.npmjs.org", "npmjs.org", 443, False),
        ("*.npmjs.org", "evilnpmjs.org", 443, False),
        ("mirror.lan:8443=10.0.0.7", "mirror.lan", 8443, True),
        ("10.1.2.3", "10.1.2.3", 443, True),
    ],
)
def test_an_entry_allows_a_place(entry: str, host: str, port: int, allowed: bool) -> None:
    assert egress.parse_entry(entry).allows(host, port) is allowed


def test_an_entry_may_name_its_address() -> None:
    assert egress.parse_entry("mirror.lan:8443=10.0.0.7").address == "10.0.0.7"
    assert egress.parse_entry("10.1.2.3").address == "10.1.2.3"
    assert egress.parse_entry("pypi.org").address == ""


@pytest.mark.parametrize(
    "text", ["", "*", "*.", "https://pypi.org", "a b", "pypi.org:0", "pypi.org:x", "pypi.org=evil"]
)
def test_an_entry_that_is_no_host_is_refused_with_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no host|is no port|stands an IP"):
        egress.parse_entry(text)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
        *("2002:7f00:1::", "ff02::1", "not an address"),
    ],
)
def test_addresses_inside_are_refused(address: str) -> None:
    assert egress.refused_address(["93.184.216.34", address]) == address


def test_public_addresses_are_not() -> None:
    assert egress.refused_address(["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"]) == ""


@pytest.mark.parametrize("target", ["/mcp", "/mcp/", "/mcp?x=1", "/api/agent/v1/tools", "/gateway/openai/v1/responses"])
def test_paths_of_the_grid_for_agents(target: str) -> None:
    assert egress.is_grid_path(target)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/admin/",
        "/mcpx",
        "/api/",
        "/api/agentx",
        "/mcp/../admin",
        "/mcp/%2e%2e/admin",
        "/gateway//x",
        "*",
        "http://x/mcp",
    ],
)
def test_other_paths(target: str) -> None:
    assert not egress.is_grid_path(target)


def test_rules_survive_their_file() -> None:
    entries = (egress.parse_entry("*.npmjs.org"),)
    rules = egress.Rules(
        execution="x", entries=entries, doors=(egress.Door(port=8000, host="127.0.0.1", is_grid=True),)
    )
    assert egress.Rules.from_json(rules.to_json()) == rules


def test_the_grid_on_loopback_is_a_door_and_elsewhere_an_entry() -> None:
    here = dataclasses.replace(conf(), agent_url="http://localhost:8000", egress_allow=("127.0.0.1:11434", "pypi.org"))
    rules = network.rules_for(uuid4(), here)
    assert [(door.port, door.is_grid) for door in rules.doors] == [(8000, True), (11434, False)]
    assert [entry.host for entry in rules.entries] == ["pypi.org"]
    there = dataclasses.replace(conf(), agent_url="https://10.1.2.3")
    assert network.rules_for(uuid4(), there).entries == (egress.Entry(host="10.1.2.3", port=443, address="10.1.2.3"),)


@pytest.mark.parametrize("way", ["absolute", "tunnel"])
def test_of_the_grid_over_plain_http_agents_get_their_own_paths_alone(tmp_path: Path, way: str) -> None:
    """Whatever the operator's list says of the same place, and whichever way a client asks its proxy."""
    seen: list[bytes] = []

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def ask(place: str, path: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "doors" / "proxy")
        if way == "tunnel":
            writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        target = path if way == "tunnel" else f"http://{place}{path}"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        status = (await reader.readline()).split(b" ")[1]
        writer.close()
        return status

    async def attempt() -> list[bytes]:
        server = await asyncio.start_server(web, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = f"grid.lan:{port}"
        settings = dataclasses.replace(conf(), agent_url=f"http://{place}", egress_allow=(f"{place}=127.0.0.1",))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(socket, "gethostbyname", lambda _: "127.0.0.1")
            rules = network.rules_for(uuid4(), settings)
        (tmp_path / "doors").mkdir()
        net = proxy.Network(tmp_path, rules)
        await net.listen()
        found = [
            await ask(place, path) for path in ("/mcp", "/gateway/openai/v1/models", "/admin/", "/webhooks/github/")
        ]
        net.close()
        server.close()
        return found

    assert asyncio.run(attempt()) == [b"200", b"200", b"403", b"403"]
    assert seen == [b"/mcp", b"/gateway/openai/v1/models"]
    assert "/admin/" in (tmp_path / "refused.jsonl").read_text()


@pytest.mark.parametrize("changes", [{"agent_url": "http://localhost"}, {"egress_allow": ("127.0.0.1",)}])
def test_a_door_that_only_root_could_open_starts_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(LaunchFailedError, match="use one from 1024 on"):
        network.rules_for(uuid4(), dataclasses.replace(conf(), **changes))


def test_a_list_that_cannot_be_read_starts_nothing() -> None:
    with pytest.raises(LaunchFailedError, match="AGENTGRID_EGRESS_ALLOW") as caught:
        network.rules_for(uuid4(), dataclasses.replace(conf(), egress_allow=("http://pypi.org/",)))
    assert caught.value.permanent


def test_a_grid_whose_name_is_not_resolved_just_now_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> str:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "gethostbyname", away)
    with pytest.raises(LaunchFailedError, match="Temporary failure") as caught:
        network.rules_for(uuid4(), dataclasses.replace(conf(), agent_url="https://agents.example.com"))
    assert not caught.value.permanent


def test_a_name_that_leads_inside_is_refused_although_it_is_allowed(tmp_path: Path) -> None:
    """What a name means is asked once, here, and connected to as answered: an answer cannot change in between."""

    async def attempt() -> None:
        rules = egress.Rules(execution="x", entries=(egress.parse_entry("rebind.test"),))

        async def answer(*_: Any, **__: Any) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")
            ]

        loop = asyncio.get_running_loop()
        loop.getaddrinfo = answer  # type: ignore[method-assign]
        await proxy.Network(tmp_path, rules)._connect("rebind.test", 443)

    with pytest.raises(carrying.RefusedError, match=r"leads to 10\.0\.0\.1, which is not a public address"):
        asyncio.run(attempt())


def test_refusals_are_written_down_up_to_a_number(tmp_path: Path) -> None:
    net = proxy.Network(tmp_path, egress.Rules(execution="x"))
    for number in range(proxy.REFUSALS + 5):
        net.note(carrying.RefusedError(f"host-{number}", "why"))
    lines = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert len(lines) == proxy.REFUSALS
    assert "later ones" in lines[-1]


@pytest.mark.parametrize(
    "head", [b"GET /mcp\r\n\r\n", b"GET /mcp HTTP/1.1\r\nA: b\n c: d\r\n\r\n", b"GET /a HTTP/1.1\r\n X: y\r\n\r\n"]
)
def test_a_request_that_two_readers_could_read_in_two_ways_is_refused(head: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(head)
        await carrying.read_head(reader)

    with pytest.raises(carrying.RefusedError, match="not a request"):
        asyncio.run(read())


def test_every_request_to_the_grid_ends_its_connection() -> None:
    head = carrying.request_head("GET", "/mcp", [b"Host: x", b"Connection: keep-alive", b"Upgrade: websocket", b"A: b"])
    assert head == b"GET /mcp HTTP/1.1\r\nHost: x\r\nA: b\r\nConnection: close\r\n\r\n"
