"""Git over smart HTTP: tokens checked, `git http-backend` run, pushes announced."""

from __future__ import annotations

import re
import subprocess  # noqa: TID251 - a server of git repositories runs git
from dataclasses import dataclass
from pathlib import Path

from tracker.fake_github import access, git
from tracker.fake_github.access import Caller
from tracker.fake_github.errors import ApiError, not_found
from tracker.fake_github.records import Repository
from tracker.fake_github.store import Store
from tracker.fake_github.views import pulls

_PATH = re.compile(r"/([^/]+)/([^/]+)\.git/(info/refs|git-upload-pack|git-receive-pack)")
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAnswer:
    """What a git client is answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def is_git(path: str) -> bool:
    """Whether a path belongs to git and not to the API."""
    return _PATH.fullmatch(path) is not None


def serve(store: Store, *, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> GitAnswer:
    """Answer one request of a git client.

    Args:
        headers: By lower-case name.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        return _refusal(not_found())
    writes = match[3] == "git-receive-pack" or "service=git-receive-pack" in query
    try:
        repository, caller = _admit(store, f"{match[1]}/{match[2]}", headers.get("authorization", ""), writes=writes)
    except ApiError as error:
        return _refusal(error)
    if repository.git_dir is None:
        return _refusal(not_found())
    inside = f"/{match[3]}"
    if match[3] != "git-receive-pack":
        return _backend(repository.git_dir, method, inside, query, headers, body)
    # Two pushes at once would blur who moved which branch.
    with store.writing():
        before = git.refs(repository.git_dir)
        answer = _backend(repository.git_dir, method, inside, query, headers, body)
        if caller is not None:
            _announce(store, repository, caller, before)
        return answer


def _admit(store: Store, full_name: str, authorization: str, *, writes: bool) -> tuple[Repository, Caller | None]:
    with store.lock:
        if not authorization and not writes:
            # Without a token, a private repository answers 401 like one that does not exist.
            for found in store.state.repositories.values():
                if not found.private and store.full_name(found).casefold() == full_name.casefold():
                    return found, None
        caller = access.identify(store, authorization)
        if caller.kind == "app":
            raise ApiError(401, "Bad credentials")
        repository = store.repository(full_name)
        app, person = ("contents:write", "write") if writes else ("contents:read", "read")
        access.check(store, caller, repository, app=app, person=person)
        return repository, caller


def _refusal(error: ApiError) -> GitAnswer:
    headers = [("Content-Type", "text/plain; charset=utf-8")]
    if error.status == 401:
        headers.append(("WWW-Authenticate", 'Basic realm="GitHub"'))
    return GitAnswer(status=error.status, headers=headers, body=f"{error.message}\n".encode())


def _backend(git_dir: Path, method: str, inside: str, query: str, headers: dict[str, str], body: bytes) -> GitAnswer:
    variables = {
        "GIT_PROJECT_ROOT": str(git_dir),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": inside,
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "REMOTE_USER": "client",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
    }
    try:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "http-backend"],  # noqa: S607
            input=body,
            env=git.environment(variables),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _refusal(ApiError(504, "git took too long"))
    head, _, data = done.stdout.partition(b"\r\n\r\n")
    status, kept = 200 if done.returncode == 0 else 500, []
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "Status":
            status = int(value.split()[0])
        elif name:
            kept.append((name, value))
    return GitAnswer(status=status, headers=kept, body=data)


def _announce(store: Store, repository: Repository, caller: Caller, before: dict[str, str]) -> None:
    if repository.git_dir is None:
        return
    after = git.refs(repository.git_dir)
    for ref in sorted(before.keys() | after.keys()):
        old, new = before.get(ref, git.NOTHING), after.get(ref, git.NOTHING)
        if old == new:
            continue
        pulls.ref_moved(store, repository, caller.user_id, ref=ref, before=old, after=new)
