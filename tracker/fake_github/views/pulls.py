"""Pull requests: open, read, list, change, merge."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

from tracker.fake_github import events, git
from tracker.fake_github.errors import ApiError, Json, invalid
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import Issue, Pull, Repository
from tracker.fake_github.routing import PULL, REPOSITORY, Call, route
from tracker.fake_github.shapes import pulls as shapes
from tracker.fake_github.store import Store
from tracker.fake_github.views import issues, marks
from tracker.limits import TITLE_MAX_CHARS

_CLOSES = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+#([1-9][0-9]{0,9})\b", re.IGNORECASE)
_METHODS = ("merge", "squash", "rebase")


@route("POST", REPOSITORY + "/pulls", app="pull_requests:write")
def create(call: Call) -> tuple[int, Any]:
    """Open a pull request between two branches of the repository."""
    store, repository, fields = call.store, call.repository, call.fields()
    title = call.text("title", resource="PullRequest", longest=TITLE_MAX_CHARS)
    body = call.optional_text("body", resource="PullRequest")
    owner, _, head = call.text("head", resource="PullRequest", longest=255).rpartition(":")
    fork_owner = store.user(owner).id if owner else repository.owner_id
    base = call.text("base", resource="PullRequest", longest=255)
    head_sha, base_sha = _resolve(repository, head, "head"), _resolve(repository, base, "base")
    for issue in repository.issues.values():
        if issue.pull and issue.state == "open" and (issue.pull.head, issue.pull.base) == (head, base):
            message = f"A pull request already exists for {store.login(fork_owner)}:{head}."
            raise invalid(resource="PullRequest", field="head", message=message)
    if head_sha == base_sha or (repository.git_dir and not git.commits_between(repository.git_dir, base_sha, head_sha)):
        message = f"No commits between {base} and {head}"
        raise invalid(resource="PullRequest", field="head", message=message)
    issue = issues.new_issue(store, repository, title=title, body=body, user_id=call.actor_id)
    issue.pull = Pull(
        id=store.new_id(),
        head=head,
        base=base,
        head_sha=head_sha,
        base_sha=base_sha,
        draft=fields.get("draft") is True,
        fork_owner_id=None if fork_owner == repository.owner_id else fork_owner,
    )
    marks.tell(store, issue, "opened", call.actor_id)
    return 201, shapes.pull(store, issue, full=True)


def _resolve(repository: Repository, branch: str, field: str) -> str:
    if repository.git_dir is None:  # no git behind this repository: any branch exists, and no two are alike
        return hashlib.sha1(f"{repository.id}/{branch}".encode(), usedforsecurity=False).hexdigest()
    sha = git.commit(repository.git_dir, f"refs/heads/{branch}")
    if sha is None:
        raise invalid(resource="PullRequest", field=field)
    return sha


@route("GET", REPOSITORY + "/pulls", app="pull_requests:read")
def list_pulls(call: Call) -> tuple[int, Any]:
    """Pull requests, filtered by state, head (`owner:branch`) and base."""
    store, repository, query = call.store, call.repository, call.query
    state, head, base = query.get("state", "open"), query.get("head"), query.get("base")
    found = [
        issue
        for issue in repository.issues.values()
        if issue.pull
        and state in ("all", issue.state)
        and head in (None, "", f"{store.login(issue.pull.fork_owner_id or repository.owner_id)}:{issue.pull.head}")
        and base in (None, "", issue.pull.base)
    ]
    by_update = query.get("sort") == "updated"
    default = "desc" if query.get("sort", "created") == "created" else "asc"
    reverse = query.get("direction", default) == "desc"
    found.sort(key=lambda one: (one.updated_at if by_update else one.created_at, one.number), reverse=reverse)
    return 200, Listing(items=found, render=functools.partial(shapes.pull, store))


@route("GET", PULL, app="pull_requests:read")
def get(call: Call) -> tuple[int, Any]:
    """One pull request, with counts and mergeability."""
    return 200, shapes.pull(call.store, call.pull, full=True)


@route("PATCH", PULL, app="pull_requests:write")
def change(call: Call) -> tuple[int, Any]:
    """Change title, body, state or base."""
    store, issue, fields = call.store, call.pull, call.fields()
    if call.actor_id != issue.user_id:
        call.needs(app="pull_requests:write", person="write")
    state = fields.get("state")
    if state not in (None, "open", "closed"):
        raise invalid(resource="PullRequest", field="state")
    data = shapes.pull_of(issue)
    if state == "open" and data.merged_at:
        message = "The pull request cannot be reopened: it is merged"
        raise invalid(resource="PullRequest", field="state", message=message)
    issues.edit(call, issue)
    if "base" in fields:
        data.base = call.text("base", resource="PullRequest", longest=255)
        data.base_sha = _resolve(call.repository, data.base, "base")
    if state is not None:
        issues.set_state(store, issue, state, reason=None, actor_id=call.actor_id)
    return 200, shapes.pull(store, issue, full=True)


@route("GET", PULL + "/files", app="pull_requests:read")
def list_files(call: Call) -> tuple[int, Any]:
    """The changed files with their patches."""
    issue, git_dir = call.pull, call.repository.git_dir
    data = shapes.pull_of(issue)
    if git_dir is None:
        return 200, Listing(items=[])
    head = shapes.head_sha(call.repository, data, is_open=issue.state == "open")
    root = f"{call.store.url}/repos/{call.store.full_name(call.repository)}"
    files = git.files_between(git_dir, data.base_sha, head)
    for entry in files:
        entry["contents_url"] = f"{root}/contents/{entry['filename']}?ref={head}"
        entry["blob_url"] = entry["raw_url"] = f"{root}/blob/{head}/{entry['filename']}"
    return 200, Listing(items=files)


@route("GET", PULL + "/commits", app="pull_requests:read")
def list_commits(call: Call) -> tuple[int, Any]:
    """The commits of a pull request, oldest first."""
    issue, git_dir = call.pull, call.repository.git_dir
    data = shapes.pull_of(issue)
    if git_dir is None:
        return 200, Listing(items=[])
    head = shapes.head_sha(call.repository, data, is_open=issue.state == "open")
    found = git.commits_between(git_dir, data.base_sha, head)
    return 200, Listing(items=[shapes.commit(call.store, call.repository, one) for one in found])


@route("GET", PULL + "/merge", app="contents:read")
def is_merged(call: Call) -> tuple[int, Any]:
    """204 when merged, else 404."""
    if shapes.pull_of(call.pull).merged_at is None:
        raise ApiError(404, "Not Found")
    return 204, None


@route("PUT", PULL + "/merge", app="contents:write", person="write")
def merge(call: Call) -> tuple[int, Any]:
    """Merge into the base branch; into the default branch it closes what the body says it closes."""
    store, repository, issue = call.store, call.repository, call.pull
    data = shapes.pull_of(issue)
    method = call.fields().get("merge_method", "merge")
    if method not in _METHODS:
        raise invalid(resource="PullRequest", field="merge_method")
    if issue.state != "open" or data.draft:
        raise ApiError(405, "Pull Request is still a draft" if data.draft else "Pull Request is not mergeable")
    head = shapes.head_sha(repository, data, is_open=True)
    if call.fields().get("sha") not in (None, head):
        raise ApiError(409, "Head branch was modified. Review and try the merge again.")
    sha, before = _merge_commits(call, issue, data, head, squash=method != "merge"), data.base_sha
    data.merged_at, data.merged_by, data.merge_commit_sha = store.timestamp(), call.actor_id, sha
    store.note(issue, "merged", call.actor_id, commit_id=sha)
    issues.set_state(store, issue, "closed", reason=None, actor_id=call.actor_id)
    tell_push(store, repository, call.actor_id, ref=f"refs/heads/{data.base}", before=before, after=sha)
    if data.base == repository.default_branch:
        _close_named(store, repository, issue, call.actor_id)
    return 200, {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}


def _merge_commits(call: Call, issue: Issue, data: Pull, head: str, *, squash: bool) -> str:
    """The merge's commit; `data.base_sha` becomes what the base was before it."""
    repository, login = call.repository, call.store.login(call.actor_id)
    if repository.git_dir is None:
        return hashlib.sha1(f"{data.base_sha}{head}".encode(), usedforsecurity=False).hexdigest()
    message = f"Merge pull request #{issue.number} from {call.store.login(repository.owner_id)}/{data.head}"
    data.base_sha = git.commit(repository.git_dir, f"refs/heads/{data.base}") or data.base_sha
    sha = git.merge(
        repository.git_dir,
        branch=data.base,
        head=head,
        message=f"{issue.title} (#{issue.number})" if squash else f"{message}\n\n{issue.title}",
        author=git.Author(name=login, email=f"{call.actor_id}+{login}@users.noreply.github.com"),
        squash=squash,
    )
    if sha is None:
        raise ApiError(405, "Pull Request is not mergeable")
    return sha


def closed_by(issue: Issue) -> list[int]:
    """The numbers of the issues that a pull request says it closes."""
    return [int(number) for number in dict.fromkeys(_CLOSES.findall(f"{issue.title}\n{issue.body or ''}"))]


def _close_named(store: Store, repository: Repository, pull: Issue, actor_id: int) -> None:
    for number in closed_by(pull):
        named = repository.issues.get(number)
        if named is not None and named.pull is None:
            issues.set_state(store, named, "closed", reason="completed", actor_id=actor_id)


def tell_push(store: Store, repository: Repository, actor_id: int, *, ref: str, before: str, after: str) -> None:
    """Announce a moved branch or tag."""
    repository.pushed_at = store.timestamp()
    commits: list[Json] = []
    if repository.git_dir and after != git.NOTHING and before != git.NOTHING:
        commits = [
            {"id": one["sha"], "message": one["message"], "timestamp": one["date"],
             "author": {"name": one["name"], "email": one["email"]}}
            for one in git.commits_between(repository.git_dir, before, after)[-20:]
        ]  # fmt: skip
    login = store.login(actor_id)
    events.emit(
        store,
        "push",
        None,
        repository,
        actor_id,
        ref=ref,
        before=before,
        after=after,
        created=before == git.NOTHING,
        deleted=after == git.NOTHING,
        forced=False,
        commits=commits,
        head_commit=commits[-1] if commits else None,
        pusher={"name": login, "email": f"{login}@users.noreply.github.com"},
    )


def ref_moved(store: Store, repository: Repository, actor_id: int, *, ref: str, before: str, after: str) -> None:
    """Announce a moved, new or deleted branch or tag, and follow it in pull requests."""
    tell_push(store, repository, actor_id, ref=ref, before=before, after=after)
    if ref.startswith("refs/heads/"):
        branch = ref.removeprefix("refs/heads/")
        _branch_moved(store, repository, actor_id, branch=branch, before=before, after=after)


def _branch_moved(store: Store, repository: Repository, actor_id: int, *, branch: str, before: str, after: str) -> None:
    """Follow a push in the open pull requests of a branch; a deleted head closes them."""
    for issue in list(repository.issues.values()):
        if issue.pull is None or issue.state != "open" or issue.pull.head != branch:
            continue
        if after == git.NOTHING:
            issues.set_state(store, issue, "closed", reason=None, actor_id=actor_id)
        else:
            issue.pull.head_sha = after
            store.touch(issue)
            marks.tell(store, issue, "synchronize", actor_id, before=before, after=after)
