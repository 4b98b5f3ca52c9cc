"""Git over HTTP with a credential: it works, and nobody else gets to see it."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from grid import store
from grid.public_errors import BranchMovedError, WorkspaceError
from grid.public_types import Credential
from tests.integration.grid.git_samples import commit_all, make_source, plain_git, write
from tracker.fake_github import FakeGithub

TOKEN = "ghs_secretTokenOfTheTest0123456789"
BRANCH = "agent/7-sample"
BOT = Credential(username="x-access-token", password=TOKEN)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGithub]:
    with FakeGithub.start(git_root=tmp_path / "github") as server:
        server.world.add_repository("acme/widgets", {"bot": "write", "reader": "read"})
        server.world.add_token(TOKEN, "bot")
        server.world.add_token("readers-token", "reader")
        yield server


@pytest.fixture
def clone(github: FakeGithub, tmp_path: Path) -> Path:
    """A person's clone whose `main` is pushed to the fake, past HTTP."""
    source = tmp_path / "person"
    make_source(source)
    plain_git(source, "remote", "add", "origin", str(tmp_path / "github/acme/widgets.git"))
    plain_git(source, "push", "-q", "origin", "main")
    return source


@pytest.fixture
def url(github: FakeGithub) -> str:
    return f"{github.url}/acme/widgets.git"


@pytest.fixture
def bare(tmp_path: Path, url: str) -> Path:
    store.ensure(tmp_path / "r1.git", url)
    return tmp_path / "r1.git"


def test_a_private_repository_is_fetched_and_our_branch_pushed(clone: Path, bare: Path, url: str):
    base = plain_git(clone, "rev-parse", "HEAD")
    assert store.default_branch(url, credential=BOT) == "main"
    store.fetch(bare, url, credential=BOT)
    assert store.head(bare, "refs/upstream/main") == base
    assert store.remote_head(bare, url, BRANCH, credential=BOT) == ""
    work = store.commit_tree(bare, plain_git(bare, "rev-parse", f"{base}^{{tree}}"), parents=(base,), message="Work")
    store.publish(bare, url, branch=BRANCH, commit=work, credential=BOT)
    store.publish(bare, url, branch=BRANCH, commit=work, credential=BOT)
    assert store.remote_head(bare, url, BRANCH, credential=BOT) == work
    assert TOKEN not in (bare / "config").read_text()


def test_commits_of_people_on_our_branch_are_brought_in_and_never_overwritten(clone: Path, bare: Path, url: str):
    base = plain_git(clone, "rev-parse", "HEAD")
    store.fetch(bare, url, credential=BOT)
    tree = plain_git(bare, "rev-parse", f"{base}^{{tree}}")
    ours = store.commit_tree(bare, tree, parents=(base,), message="Ours")
    store.publish(bare, url, branch=BRANCH, commit=ours, credential=BOT)
    plain_git(clone, "fetch", "-q", "origin", BRANCH)
    plain_git(clone, "checkout", "-q", "-b", BRANCH, "FETCH_HEAD")
    write(clone, {"by-hand.txt": "1"})
    theirs = commit_all(clone)
    plain_git(clone, "push", "-q", "origin", BRANCH)
    later = store.commit_tree(bare, tree, parents=(ours,), message="Later")
    with pytest.raises(BranchMovedError):
        store.publish(bare, url, branch=BRANCH, commit=later, credential=BOT)
    with pytest.raises(BranchMovedError):
        store.publish(bare, url, branch=BRANCH, commit=later, expected_old=ours, credential=BOT)
    assert store.remote_head(bare, url, BRANCH, credential=BOT) == theirs
    assert store.has_commit(bare, theirs) and store.merge_base(bare, theirs, later) == ours
    store.publish(bare, url, branch=BRANCH, commit=later, expected_old=theirs, credential=BOT)
    assert store.remote_head(bare, url, BRANCH, credential=BOT) == later


@pytest.mark.parametrize(
    ("credential", "says"),
    [
        (None, "wants a credential"),
        (Credential(username="bot", password="wrong"), "refuses the credential of bot"),
        (Credential(username="reader", password="readers-token"), "refuses the credential of reader"),
    ],
)
def test_a_refusal_says_what_to_do_and_shows_no_secret(clone: Path, bare: Path, url: str, credential, says: str):
    store.fetch(bare, url, credential=BOT)
    with pytest.raises(WorkspaceError, match=says) as caught:
        store.publish(bare, url, branch=BRANCH, commit=store.head(bare, "refs/upstream/main"), credential=credential)
    assert "wrong" not in str(caught.value) and "readers-token" not in str(caught.value)
    assert "wrong" not in repr(credential)


@pytest.mark.parametrize("location", ["{folder}", "ssh://git@example.com/x", "https://bot:word@example.com/x.git"])
def test_a_credential_goes_over_http_only_and_never_beside_another_one(tmp_path: Path, location: str):
    (tmp_path / "HEAD").write_text("no repository, but it looks like one\n")
    with pytest.raises(WorkspaceError, match="credential"):
        store.default_branch(location.format(folder=tmp_path), credential=BOT)


def test_a_credential_with_a_line_end_is_refused():
    with pytest.raises(WorkspaceError, match="too long or has characters"):
        store.default_branch("http://127.0.0.1:9/x", credential=Credential(username="a\nhost=evil", password="b"))


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, answer: Callable[[_Handler, str], None], *, asks: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.asks = answer, asks
        self.seen: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    """Asks for a credential, then does with it what the test says."""

    server: _Server

    def do_GET(self) -> None:
        said = self.headers.get("Authorization", "")
        self.server.seen.append(said)
        if not said and self.server.asks:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
        else:
            self.server.answer(self, said)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def server_that(answer: Callable[[_Handler, str], None], *, asks: bool = True) -> Iterator[_Server]:
    server = _Server(answer, asks=asks)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_while_git_runs_nothing_that_an_agent_may_read_holds_the_credential():
    found: list[str] = []
    looked: set[str] = set()

    def look(handler: _Handler, _: str) -> None:
        """Git holds the credential now: look at everything of its processes that our user id may open."""
        for process in psutil.Process().children(recursive=True):
            folder = Path(f"/proc/{process.pid}")
            looked.add((folder / "comm").read_text().strip())
            places = [folder / "cmdline", folder / "environ"]
            for descriptor in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(descriptor)
                    if target.startswith("socket:"):
                        with pytest.raises(OSError, match="No such device"):
                            os.open(descriptor, os.O_RDONLY)
                    elif target.startswith("/") and not target.startswith("/dev/"):
                        places.append(descriptor)
                    elif target.startswith("pipe:"):
                        with contextlib.suppress(BlockingIOError):
                            pipe = os.open(descriptor, os.O_RDONLY | os.O_NONBLOCK)
                            with os.fdopen(pipe, "rb", buffering=0) as reader:
                                found.extend(["pipe"] if TOKEN.encode() in (reader.read(65536) or b"") else [])
            found.extend(str(place) for place in places if TOKEN.encode() in place.read_bytes())
        handler.send_response(500)
        handler.end_headers()

    with server_that(look) as server, pytest.raises(WorkspaceError):
        store.default_branch(f"http://127.0.0.1:{server.server_port}/x.git", credential=BOT)
    assert any("git" in name for name in looked)
    assert base64.b64encode(f"{BOT.username}:{TOKEN}".encode()).decode() in server.seen[-1]
    assert found == []


def test_another_server_gets_nothing_by_a_redirect():
    """Neither before the first server has asked for the credential nor afterwards."""

    def refuse(handler: _Handler, _: str) -> None:
        handler.send_response(500)
        handler.end_headers()

    for asks in (True, False):
        with server_that(refuse) as other:

            def redirect(handler: _Handler, _: str) -> None:
                handler.send_response(302)
                handler.send_header("Location", f"http://127.0.0.1:{other.server_port}{handler.path}")
                handler.end_headers()

            with server_that(redirect, asks=asks) as server, pytest.raises(WorkspaceError):
                store.default_branch(f"http://127.0.0.1:{server.server_port}/x.git", credential=BOT)
            assert other.seen and not any(other.seen)


def test_a_server_that_repeats_the_credential_gets_it_into_no_error():
    def repeat(handler: _Handler, said: str) -> None:
        body = f"you sent {said} which is {TOKEN}\n".encode()
        handler.send_response(403)
        handler.send_header("Content-Type", "text/plain")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with server_that(repeat) as server, pytest.raises(WorkspaceError) as caught:
        store.default_branch(f"http://127.0.0.1:{server.server_port}/x.git", credential=BOT)
    assert "[credential]" in str(caught.value)
    assert TOKEN not in str(caught.value) and server.seen[-1].split()[-1] not in str(caught.value)
