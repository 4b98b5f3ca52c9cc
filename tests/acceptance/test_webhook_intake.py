"""Webhooks at a real web process: killed, overrun, without its database, and told twice of everything."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.integration.tracker.fake_github_world import REPOSITORY, furnish
from tests.services.servers import free_port
from tests.services.stack import Stack
from tracker.fake_github import App, FakeGithub

SECRET = "s3cret-of-the-hook"
PATH = "/webhooks/github/"
PING = json.dumps({"zen": "Keep it logically awesome."}).encode()


def signed(body: bytes, *, event: str = "ping", guid: str = "") -> dict[str, str]:
    """The headers of a delivery."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid or str(uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }


def post(stack: Stack, body: bytes, headers: dict[str, str], *, timeout: float = 20) -> tuple[int, dict[str, Any]]:
    """Status and answer; status 0 when there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=timeout)
    try:
        connection.request("POST", PATH, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()


def deliveries(stack: Stack) -> list[list[Any]]:
    """GUID, state, attempts and error of every stored delivery."""
    code = (
        "import json; from tracker.models import Delivery; "
        "print(json.dumps(list(Delivery.objects.order_by('pk').values_list('guid', 'state', 'attempts', 'error'))))"
    )
    found: list[list[Any]] = json.loads(stack.manage("shell", "-v", "0", "-c", code).stdout.splitlines()[-1])
    return found


@pytest.fixture
def web(new_stack: Callable[..., Stack]) -> Stack:
    """A web process alone; nobody takes anything up."""
    return new_stack(extra_env={"GITHUB_WEBHOOK_SECRET": SECRET}).start("web")


def test_fifty_copies_at_once_are_one_delivery(web):
    headers = signed(PING, guid="same")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(web, PING, headers), range(50)))
    assert [status for status, _ in answers] == [202] * 50
    assert sum(answer["new"] for _, answer in answers) == 1
    assert [row[0] for row in deliveries(web)] == ["same"]


def test_no_body_beyond_the_limit_reaches_memory_or_disk(web):
    large = b"x" * 6_000_000
    assert post(web, large, signed(large))[0] in (413, 0)
    # Nobody need send a byte to be refused for what is announced.
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as client:
        client.sendall(b"POST /webhooks/github/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000000\r\n\r\n")
        assert client.recv(200).startswith(b"HTTP/1.1 413")
    # In pieces, without an end in sight: refused once it is too much.
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as client:
        client.sendall(b"POST /webhooks/github/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while sent < 60_000_000:
                client.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                sent += 65_536
        with contextlib.suppress(OSError):
            answer = client.recv(200)
    assert sent < 60_000_000 and (answer.startswith(b"HTTP/1.1 413") or answer == b"")
    assert web.web_answers() and deliveries(web) == []


@pytest.fixture
def deaf_broker() -> Iterator[str]:
    """A broker that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_broker_that_hangs_keeps_nobody_waiting(new_stack, deaf_broker):
    stack = new_stack(migrated=False, broker=deaf_broker, extra_env={"GITHUB_WEBHOOK_SECRET": SECRET})
    stack.manage("migrate", "--verbosity=0", timeout=120)
    stack._is_prepared = True
    stack.start("web")
    for number in range(10):
        began = time.monotonic()
        assert post(stack, PING, signed(PING, guid=f"guid-{number}"))[0] == 202
        assert time.monotonic() - began < 2
    assert len(deliveries(stack)) == 10


@pytest.mark.timeout(120)
def test_killed_after_the_commit_and_before_the_answer_a_redelivery_has_one_effect(new_stack, postgres_server):
    """The row is committed while the answer of the database is on its way: there the process dies."""
    stack = new_stack(database="postgres", extra_env={"GITHUB_WEBHOOK_SECRET": SECRET})
    url = stack.env["DATABASE_URL"]
    name = url.partition("@/")[2].partition("?")[0]
    with Proxy(Path(postgres_server) / ".s.PGSQL.5432") as proxy:
        stack.env["DATABASE_URL"] = f"postgres://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable"
        stack.start("web")
        proxy.hold_answers_to(b"INSERT INTO")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post, stack, PING, signed(PING, guid="same"))
            with psycopg.connect(host=postgres_server, user="postgres", dbname=name, autocommit=True) as direct:
                count = "SELECT count(*) FROM tracker_delivery"
                stack.wait_until(lambda: direct.execute(count).fetchone() == (1,), "the row is committed")
            assert not answer.done()
            stack.kill9("web")
            assert answer.result(10) == (0, {}), "nobody was told anything"
    stack.env["DATABASE_URL"] = url
    stack.start("web", "control", "beat")
    status, told = post(stack, PING, signed(PING, guid="same"))
    assert (status, told["new"]) == (202, False)
    stack.wait_until(
        lambda: deliveries(stack) == [["same", "ignored", 1, ""]], "the sweep found it", timeout=60, pause=1
    )


class Proxy:
    """Stands between a client and PostgreSQL's socket, and can hold back the answers to some queries."""

    def __init__(self, target: Path) -> None:
        self._target, self._held = target, b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def hold_answers_to(self, query: bytes) -> None:
        """From now on, whoever sends this gets no answer any more."""
        self._held = query

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                database = socket.socket(socket.AF_UNIX)
                database.connect(str(self._target))
                self._sockets += [client, database]
                is_held = threading.Event()
                threading.Thread(target=self._pass_on, args=(client, database, is_held, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(database, client, is_held, False), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, is_held: threading.Event, is_query: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                if is_query and self._held and self._held in data:
                    is_held.set()
                if is_query or not is_held.is_set():
                    other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


@pytest.mark.timeout(120)
def test_without_its_database_the_answer_is_5xx_and_comes_quickly(new_stack, postgres_server):
    stack = new_stack(database="postgres", extra_env={"GITHUB_WEBHOOK_SECRET": SECRET}).start("web")
    assert post(stack, PING, signed(PING, guid="before"))[0] == 202
    stop, start = database_switch(postgres_server)
    stop()
    try:
        statuses = [post(stack, PING, signed(PING, guid=f"while-{n}")) for n in range(5)]
        assert [status for status, _ in statuses] == [503] * 5
        assert all(set(answer) == {"error", "fix"} for _, answer in statuses)
        assert postgres_server not in json.dumps(statuses)
    finally:
        start()
    for n in range(5):
        assert post(stack, PING, signed(PING, guid=f"while-{n}"))[0] == 202
    assert [row[0] for row in deliveries(stack)] == ["before", *(f"while-{n}" for n in range(5))]


def database_switch(socket_dir: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """How to stop PostgreSQL, and to start it again."""
    with psycopg.connect(host=socket_dir, user="postgres", dbname="postgres") as connection:
        data = connection.execute("SHOW data_directory").fetchone()
        pg_ctl = Path(f"/proc/{connection.info.backend_pid}/exe").resolve().with_name("pg_ctl")
        # Program and options, of which only the options are quoted; the program's path may have blanks.
        options = '"' + Path(data[0], "postmaster.opts").read_text().split(' "', 1)[1].strip()
    owner = Path(data[0]).stat().st_uid

    def run(*args: str) -> None:
        command = [str(pg_ctl), "-D", data[0], "-w", "-l", "/dev/null", *args]
        done = subprocess.run(command, capture_output=True, text=True, user=owner, timeout=60, cwd="/", check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return lambda: run("-m", "fast", "stop"), lambda: run("-o", options.replace('"', "'"), "start")


@pytest.fixture
def github() -> Iterator[tuple[FakeGithub, App]]:
    """A fake GitHub with our App."""
    with FakeGithub.start() as server:
        furnish(server)
        yield server, server.world.add_app()


@pytest.mark.timeout(120)
def test_an_installation_told_twice_and_shuffled_takes_its_repository_under_care(new_stack, github):
    server, app = github
    port = free_port()
    server.world.add_hook(app, url=f"http://127.0.0.1:{port}{PATH}", secret=SECRET)
    environment = {
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "GITHUB_API_URL": server.url,
        "GITHUB_GIT_URL": server.url,
        "GITHUB_APP_ID": str(app.id),
        "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
        "GITHUB_OWNERS": "acme",
    }
    stack = new_stack(extra_env=environment)
    stack.port = port
    stack.start("web", "control")
    server.world.add_installation(app, "acme", [REPOSITORY])
    codes = server.world.deliver(duplicate=True, shuffle=7)
    assert codes and set(codes) == {202}
    code = "from tracker.models import Repository; print(*Repository.objects.values_list('scope', 'is_active'))"
    shown = f"('{REPOSITORY}', True)"
    stack.wait_until(
        lambda: shown in stack.manage("shell", "-v", "0", "-c", code).stdout, "the repository is under care", pause=0.5
    )
