"""Commits, branches and git refs."""

from __future__ import annotations

from typing import Any

from tracker.fake_github import git
from tracker.fake_github.errors import ApiError, Json, not_found
from tracker.fake_github.paging import Listing
from tracker.fake_github.routing import REPOSITORY, Call, route
from tracker.fake_github.shapes import pulls as shapes
from tracker.fake_github.views import checks, pulls


@route("GET", REPOSITORY + "/commits", app="contents:read")
def list_commits(call: Call) -> tuple[int, Any]:
    """The commits behind `sha` (a branch or hash; the default branch without), newest first."""
    git_dir = call.repository.git_dir
    if git_dir is None:
        raise ApiError(409, "Git Repository is empty.")
    sha = git.commit(git_dir, call.query.get("sha") or call.repository.default_branch)
    if sha is None:
        raise not_found()
    found = git.commits_of(git_dir, sha)
    return 200, Listing(items=[shapes.commit(call.store, call.repository, one) for one in found])


@route("GET", REPOSITORY + "/commits/{ref}", app="contents:read")
def get_commit(call: Call) -> tuple[int, Any]:
    """One commit, by hash, branch or tag."""
    sha, git_dir = checks.sha_of(call, call.arguments["ref"]), call.repository.git_dir
    if git_dir is None:
        one: Json = {"sha": sha, "name": "", "email": "", "date": call.repository.created_at, "message": ""}
    else:
        one = git.commits_of(git_dir, sha, count=1)[0]
    return 200, shapes.commit(call.store, call.repository, one)


@route("GET", REPOSITORY + "/git/ref/{ref}", app="contents:read")
def get_ref(call: Call) -> tuple[int, Any]:
    """One git ref, such as `heads/main`."""
    return 200, _ref(call, call.arguments["ref"])


@route("GET", REPOSITORY + "/git/refs/{ref}", app="contents:read")
def get_ref_plural(call: Call) -> tuple[int, Any]:
    """One git ref, under its older address."""
    return 200, _ref(call, call.arguments["ref"])


def _ref(call: Call, name: str) -> Json:
    git_dir = call.repository.git_dir
    sha = git.refs(git_dir).get(f"refs/{name}") if git_dir else None
    if sha is None:
        raise not_found()
    root = f"{call.store.url}/repos/{call.store.full_name(call.repository)}/git"
    target = {"sha": sha, "type": "commit", "url": f"{root}/commits/{sha}"}
    return {"ref": f"refs/{name}", "node_id": f"REF_{name}", "url": f"{root}/refs/{name}", "object": target}


@route("POST", REPOSITORY + "/git/refs", app="contents:write", person="write")
def create_ref(call: Call) -> tuple[int, Any]:
    """Create a branch or tag; 422 when it exists, so of several callers one wins."""
    ref, sha = call.text("ref", resource="Reference", longest=255), call.text("sha", resource="Reference", longest=40)
    git_dir = call.repository.git_dir
    if git_dir is None or not ref.startswith(("refs/heads/", "refs/tags/")) or git.commit(git_dir, sha) != sha:
        raise ApiError(422, "Object does not exist" if git_dir else "Reference is not valid")
    if git.run(git_dir, "update-ref", ref, sha, git.NOTHING, check=False).returncode:
        raise ApiError(422, "Reference already exists")
    pulls.ref_moved(call.store, call.repository, call.actor_id, ref=ref, before=git.NOTHING, after=sha)
    return 201, _ref(call, ref.removeprefix("refs/"))


@route("GET", REPOSITORY + "/branches/{branch}", app="contents:read")
def get_branch(call: Call) -> tuple[int, Any]:
    """One branch; a slash in its name is written %2F."""
    name = call.arguments["branch"]
    sha = _ref(call, f"heads/{name}")["object"]["sha"]
    url = f"{call.store.url}/repos/{call.store.full_name(call.repository)}/commits/{sha}"
    return 200, {"name": name, "commit": {"sha": sha, "url": url}, "protected": False}


@route("DELETE", REPOSITORY + "/git/refs/{ref}", app="contents:write", person="write")
def delete_ref(call: Call) -> tuple[int, Any]:
    """Delete a branch or tag."""
    name, git_dir = call.arguments["ref"], call.repository.git_dir
    before = git.refs(git_dir).get(f"refs/{name}") if git_dir else None
    if before is None or git_dir is None or name == f"heads/{call.repository.default_branch}":
        raise ApiError(422, "Reference does not exist")
    git.run(git_dir, "update-ref", "-d", f"refs/{name}", before)
    pulls.ref_moved(call.store, call.repository, call.actor_id, ref=f"refs/{name}", before=before, after=git.NOTHING)
    return 204, None
