"""Every backend does what it says that it enforces; one that enforces nothing is caught at it, so that the checks can fail."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from grid.conf import conf
from grid.public_types import Limits
from grid.sandboxes import docker, network
from grid.sandboxes.choosing import BACKENDS
from tests.hostile.shim_runs import living_in, wait_for
from tests.services.cells import Cells, cells_in
from tests.services.servers import free_port

pytest_plugins = ["tests.services.engine"]
CANARY = "agentgrid-canary-7f3a"


type Backend = tuple[str, dict[str, Any]]
"""Name of a backend that works here, and the settings it needs."""


def _backend(request: pytest.FixtureRequest, name: str) -> Backend:
    if name == "docker":
        return name, {"docker_image": request.getfixturevalue("docker_image")}
    if why_not := BACKENDS[name].available(conf()):
        pytest.fail(why_not) if os.environ.get("CI") else pytest.skip(why_not)
    return name, {}


@pytest.fixture(params=["process", "bwrap", "docker"], scope="module")
def cells(request: pytest.FixtureRequest) -> Iterator[Cells]:
    """Cells of each backend."""
    name, settings = _backend(request, request.param)
    with cells_in(BACKENDS[name], **settings) as made:
        yield made


@pytest.fixture(params=["bwrap", "docker"], scope="module")
def walled(request: pytest.FixtureRequest) -> Backend:
    """Each backend that limits the network."""
    return _backend(request, request.param)


@pytest.fixture(scope="module")
def bwrap(request: pytest.FixtureRequest) -> None:
    """What is the same for all backends with walls is tried with the quickest."""
    _backend(request, "bwrap")


class Grid(BaseHTTPRequestHandler):
    """Stands for the web process."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def web() -> Iterator[int]:
    """A web process on loopback; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Grid) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextlib.contextmanager
def outside_host() -> Iterator[int]:
    """Stands for a host on the internet: echoes a line; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.sendall(b"echo " + client.recv(100))

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def plant(cells: Cells, folder: Path) -> dict[str, Any]:
    """Secrets around the cell, and a plan to get at them."""
    state = cells.settings.state_dir
    readable = [
        state / "secret_key",
        state / "agentgrid.sqlite3",
        state / "runs" / "other" / "workspace" / "notes",
        folder / ".env",
    ]
    for path in readable:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CANARY)
    return {
        "canary": CANARY,
        "read": [*map(str, readable), "/etc/shadow", str(cells.runs.dir / f"cell-{len(cells.runs.all)}" / "spec.json")],
        "write": [
            str(folder / "new"),
            str(state / "new"),
            "/usr/new",
            "/new",
            "/proc/sys/kernel/core_pattern",
            "mine",
            "/tmp/mine",
        ],
    }


def _is_new(path: Path) -> bool:
    """Whether an agent made this file on our side; removes it."""
    found = path.exists() and not path.is_relative_to("/proc")
    if found:
        path.unlink()
    return found


HOLDS: Mapping[str, Callable[[dict[str, Any]], bool]] = {
    "files": lambda told: (
        told["read"] == [] and told["changed"] == [] and {"mine", "/tmp/mine"} <= set(told["written"])
    ),
    "network": lambda told: told["connected"] == [] and not told["abstract"],
    "pids": lambda told: not told["signalled"] and told["processes"] < 10,
    "uid": lambda told: told["uid"] != 0 and told["capabilities"] == 0,
    "proc": lambda told: not told["in_proc"] and "/proc/sys/kernel/core_pattern" not in told["written"],
}
REACHED_WITHOUT = {"files", "network", "pids"}
"""What no backend-less agent is kept from, whoever we are."""


def test_what_a_backend_says_that_it_enforces_holds(cells: Cells, tmp_path: Path) -> None:
    with (
        contextlib.closing(socket.create_server(("127.0.0.1", 0))) as redis,
        contextlib.closing(socket.socket(socket.AF_UNIX)) as abstract,
        subprocess.Popen(["sleep", "60"], env={"DATABASE_URL": f"postgres://{CANARY}"}) as keeper,
    ):
        abstract.bind(f"\0{CANARY}")
        abstract.listen()
        plan = plant(cells, tmp_path) | {"abstract": CANARY, "pid": os.getpid()}
        plan["connect"] = [["127.0.0.1", redis.getsockname()[1]], ["169.254.169.254", 80]]
        told = cells.told(cells.begin("look", **plan))
        # What it wrote may have gone to a /tmp of its own.
        told["changed"] = [path for path in plan["write"] if path.startswith("/") and _is_new(Path(path))]
        keeper.kill()
    assert told["prompt"] == "fix the bug\n"
    assert told["stdout"], "it cannot open its own standard output"
    assert not told["in_env"]
    assert told["ignored"] == [], "signals of a stop that it would not hear"
    for need in cells.sandbox.enforces & HOLDS.keys():
        assert HOLDS[need](told), (need, told)
    if cells.sandbox.name == "process":
        assert not any(HOLDS[need](told) for need in REACHED_WITHOUT), told


def test_a_fork_bomb_and_a_hoarder_end_at_their_limits(cells: Cells) -> None:
    if not {"processes", "memory"} <= cells.sandbox.enforces:
        pytest.skip(f"{cells.sandbox.name} does not say that it limits all processes together here")
    assert cells.told(cells.begin("bomb", limits=Limits(processes=40)))["born"] <= 44
    limits = Limits(memory_bytes=200 << 20)
    assert cells.told(cells.begin("hoard", str(80 << 20), "4", limits=limits))["killed"] >= 1


def test_a_stop_reaches_the_agent_and_its_exit_code_the_shim(cells: Cells) -> None:
    run = cells.begin("wait").said("waiting")
    run.tell("stop", reason="cancelled")
    assert run.exit()["code"] == 7, run.lines("err")
    assert (run.work / "said").read_text() == "last words"


def test_nothing_of_a_run_outlives_its_shim(cells: Cells) -> None:
    run = cells.begin("wait").said("waiting")
    assert run.left()
    nursery = cells.runs.nursery()
    if cells.sandbox.name != "process":  # there the nursery buries what a killed shim leaves; walls need nobody
        os.kill(nursery, signal.SIGSTOP)
    os.kill(run.pid, signal.SIGKILL)
    try:
        wait_for(lambda: not living_in(run.work), "the end of everything", 5)
    finally:
        os.kill(nursery, signal.SIGCONT)
    if cells.sandbox.name == "docker":  # the container itself waits for the host's housekeeping
        mine = cells.ids[run.dir]
        assert mine in docker.containers(cells.settings)
        docker.remove(cells.settings, [mine])
        assert mine not in docker.containers(cells.settings)


def test_only_the_grid_and_allowed_hosts_can_be_reached(walled: Backend) -> None:
    name, needed = walled
    with web() as port, outside_host() as outside:
        settings = {"agent_url": f"http://127.0.0.1:{port}", "egress_allow": (f"pypi.test:{outside}=127.0.0.1",)}
        with cells_in(BACKENDS[name], **settings, **needed) as cells:
            run = cells.begin(
                "fetch",
                connect=[f"pypi.test:{outside}", "evil.test:443", "169.254.169.254:443", f"127.0.0.1:{outside}"],
                get=[
                    f"http://127.0.0.1:{port}/{path}"
                    for path in ("mcp", "admin/", "mcp/../admin/", "gateway/openai/v1")
                ],
            )
            told = cells.told(run)
            refused = [entry["host"] for entry in cells.refused(run)]
    assert told["connect"] == {
        f"pypi.test:{outside}": "echo hello\n",
        "evil.test:443": "HTTP/1.1 403 Forbidden",
        "169.254.169.254:443": "HTTP/1.1 403 Forbidden",
        f"127.0.0.1:{outside}": "HTTP/1.1 403 Forbidden",
    }
    assert list(told["get"].values()) == ["200 /mcp", "403", "403", "200 /gateway/openai/v1"]
    assert refused[:3] == ["evil.test:443", "169.254.169.254:443", f"127.0.0.1:{outside}"]
    assert len(refused) == 5


def test_a_network_survives_the_death_of_its_proxy(bwrap: None) -> None:
    with web() as port, cells_in(BACKENDS["bwrap"], agent_url=f"http://127.0.0.1:{port}") as cells:
        url = f"http://127.0.0.1:{port}/mcp"
        run = cells.begin("fetch", get=[url], after="go").said("ready")
        first = network.ask(cells.settings.host_dir, {"op": "ping", "version": network.version()})
        os.kill(first["pid"], signal.SIGKILL)
        wait_for(lambda: network.ask(cells.settings.host_dir, {"op": "ping"}) is None, "its death")
        assert network.ensure(cells.settings)
        (run.work / "go").touch()
        assert cells.told(run)["get"] == {url: "200 /mcp"}


def test_a_port_of_this_machine_is_a_door_when_the_operator_says_so(bwrap: None) -> None:
    with web() as port, cells_in(BACKENDS["bwrap"], egress_allow=(f"127.0.0.1:{port}",)) as cells:
        urls = [f"http://127.0.0.1:{port}/anything", f"http://127.0.0.1:{free_port()}/"]
        told = cells.told(cells.begin("fetch", get=urls))
        assert told["get"] == {urls[0]: "200 /anything", urls[1]: "URLError"}
