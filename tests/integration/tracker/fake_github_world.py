"""A furnished fake GitHub for tests, clients for it, and somebody who listens to its webhooks."""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from github import Auth, Github
from github.Repository import Repository

from tracker.fake_github import FakeGithub

PEOPLE = {"adam": "admin", "alice": "write", "tim": "triage", "rita": "read"}
REPOSITORY = "acme/widgets"


def furnish(server: FakeGithub, *, files: dict[str, str] | None = None) -> None:
    """One private repository with a person of each level, an outsider, and a token `<login>-token` for everybody."""
    world = server.world
    world.add_repository(REPOSITORY, PEOPLE, files=files)
    for login in (*PEOPLE, "mallory"):
        world.add_token(f"{login}-token", login)


def client(server: FakeGithub, auth: Auth.Auth | str) -> Github:
    """PyGithub without waiting and without retries, so that tests see every answer."""
    return Github(
        base_url=server.url,
        auth=Auth.Token(f"{auth}-token") if isinstance(auth, str) else auth,
        retry=None,
        timeout=10,
        seconds_between_requests=None,
        seconds_between_writes=None,
    )


@contextlib.contextmanager
def repository(server: FakeGithub, auth: Auth.Auth | str = "alice") -> Iterator[Repository]:
    """The repository as somebody sees it."""
    with contextlib.closing(client(server, auth)) as github:
        yield github.get_repo(REPOSITORY)


class Listener:
    """Takes webhooks on a port of its own and keeps `(headers, body)`."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.status = 202
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((dict(self.headers), body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/webhooks"

    def guids(self) -> list[str]:
        return [headers["X-GitHub-Delivery"] for headers, _ in self.received]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Clone:
    """A working copy of the repository, made over HTTP."""

    def __init__(self, server: FakeGithub, folder: Path, token: str = "alice-token") -> None:
        self.folder = folder
        self.url = address(server, token)
        run("git", "clone", "-q", self.url, str(folder))

    def commit(self, branch: str, path: str, text: str, *, start: str | None = None) -> str:
        """Commit one file on a branch and push it; the commit's hash."""
        if start is not None:
            run("git", "checkout", "-q", "-B", branch, start, cwd=self.folder)
        elif run("git", "branch", "--list", branch, cwd=self.folder):
            run("git", "checkout", "-q", branch, cwd=self.folder)
        else:
            run("git", "checkout", "-q", "-b", branch, cwd=self.folder)
        (self.folder / path).write_text(text)
        run("git", "add", "-A", cwd=self.folder)
        run("git", "-c", "user.name=Alice", "-c", "user.email=alice@example.com", "commit", "-qm", f"Write {path}",
            cwd=self.folder)  # fmt: skip
        run("git", "push", "-q", "origin", branch, cwd=self.folder)
        return run("git", "rev-parse", "HEAD", cwd=self.folder)


def address(server: FakeGithub, token: str, full_name: str = REPOSITORY) -> str:
    """Where git finds the repository, token included."""
    user = f"x-access-token:{token}@" if token else ""
    return f"{server.url.replace('://', f'://{user}')}/{full_name}.git"


def run(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    """Run a command; its output, errors included when it may fail."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stderr}")
    return (done.stdout if check else done.stdout + done.stderr).strip()
