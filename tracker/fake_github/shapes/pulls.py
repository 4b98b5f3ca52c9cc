"""Pull requests, reviews, statuses and checks as the API writes them."""

from __future__ import annotations

from collections.abc import Sequence

from tracker.fake_github import git
from tracker.fake_github.errors import Json
from tracker.fake_github.records import CheckRun, Issue, Pull, Repository, Review, ReviewComment, Status
from tracker.fake_github.shapes import accounts, issues
from tracker.fake_github.store import Store


def head_sha(repository: Repository, pull: Pull, *, is_open: bool) -> str:
    """The head's commit: the branch's while the pull request is open, then the last one seen."""
    if is_open and repository.git_dir and (sha := git.commit(repository.git_dir, f"refs/heads/{pull.head}")):
        pull.head_sha = sha
    return pull.head_sha


def pull(store: Store, found: Issue, *, full: bool = False) -> Json:
    """A pull request; with `full` also counts, mergeability and the merge."""
    repository = store.repository_of(found)
    data = pull_of(found)
    head_sha(repository, data, is_open=found.state == "open")
    url, page = issues.url_of(store, found), issues.page_of(store, found)
    api = url.replace("/issues/", "/pulls/")
    root = f"{store.url}/repos/{store.full_name(repository)}"
    addresses = {
        "self": api,
        "html": page,
        "issue": url,
        "comments": url + "/comments",
        "review_comments": api + "/comments",
        "review_comment": f"{root}/pulls/comments{{/number}}",
        "commits": api + "/commits",
        "statuses": f"{root}/statuses/{data.head_sha}",
    }
    as_issue = issues.issue(store, found)
    same = ["number", "state", "title", "body", "user", "labels", "assignee", "assignees", "milestone", "locked", "active_lock_reason", "created_at", "updated_at", "closed_at", "author_association", "draft", "node_id"]  # fmt: skip
    made: Json = {key: as_issue[key] for key in same}
    made |= {
        "id": data.id,
        "url": api,
        "html_url": page,
        "diff_url": page + ".diff",
        "patch_url": page + ".patch",
        "issue_url": url,
        "commits_url": addresses["commits"],
        "review_comments_url": addresses["review_comments"],
        "review_comment_url": addresses["review_comment"],
        "comments_url": addresses["comments"],
        "statuses_url": addresses["statuses"],
        "merged_at": data.merged_at,
        "merge_commit_sha": data.merge_commit_sha,
        "requested_reviewers": [],
        "requested_teams": [],
        "head": _end(store, repository, data.head, data.head_sha, fork_owner_id=data.fork_owner_id),
        "base": _end(store, repository, data.base, data.base_sha),
        "_links": {name: {"href": address} for name, address in addresses.items()},
        "auto_merge": None,
    }
    return made | _details(store, repository, found) if full else made


def pull_of(found: Issue) -> Pull:
    """The pull request's own data; the caller knows that it is one."""
    if found.pull is None:
        raise LookupError(f"#{found.number} is an issue, no pull request")
    return found.pull


def _end(store: Store, repository: Repository, ref: str, sha: str, *, fork_owner_id: int | None = None) -> Json:
    owner = accounts.user(store, fork_owner_id or repository.owner_id)
    shape = accounts.repository(store, repository)
    if fork_owner_id is not None:
        # Nobody looks closer at a fork than this: whose it is, and that it is one.
        shape |= {
            "id": repository.id + 1,
            "owner": owner,
            "fork": True,
            "full_name": f"{owner['login']}/{repository.name}",
        }
    return {"label": f"{owner['login']}:{ref}", "ref": ref, "sha": sha, "user": owner, "repo": shape}


def _details(store: Store, repository: Repository, found: Issue) -> Json:
    data = pull_of(found)
    files: Sequence[Json] = ()
    commits: Sequence[Json] = ()
    mergeable: bool | None = found.state == "open"
    if repository.git_dir:
        base = git.commit(repository.git_dir, f"refs/heads/{data.base}") or data.base_sha
        start = data.base_sha if data.merged_at else base
        files = git.files_between(repository.git_dir, start, data.head_sha)
        commits = git.commits_between(repository.git_dir, start, data.head_sha)
        if mergeable:
            mergeable = git.merged_tree(repository.git_dir, base, data.head_sha) is not None
    state = "draft" if data.draft else "clean" if mergeable else "dirty"
    return {
        "merged": data.merged_at is not None,
        "mergeable": mergeable if found.state == "open" else None,
        "rebaseable": mergeable if found.state == "open" else None,
        "mergeable_state": state if found.state == "open" else "unknown",
        "merged_by": accounts.optional_user(store, data.merged_by),
        "comments": issues.comment_count(repository, found.number),
        "review_comments": len(data.review_comments),
        "maintainer_can_modify": False,
        "commits": len(commits),
        "additions": sum(entry["additions"] for entry in files),
        "deletions": sum(entry["deletions"] for entry in files),
        "changed_files": len(files),
    }


def review(store: Store, found: Issue, one: Review) -> Json:
    """A submitted review."""
    api = issues.url_of(store, found).replace("/issues/", "/pulls/")
    page = f"{issues.page_of(store, found)}#pullrequestreview-{one.id}"
    return {
        "id": one.id,
        "node_id": f"PRR_{one.id}",
        "user": accounts.user(store, one.user_id),
        "body": one.body,
        "state": one.state,
        "html_url": page,
        "pull_request_url": api,
        "author_association": accounts.association(store, store.repository_of(found), one.user_id),
        "_links": {"html": {"href": page}, "pull_request": {"href": api}},
        "submitted_at": one.submitted_at,
        "commit_id": one.commit_id,
    }


def review_comment(store: Store, found: Issue, one: ReviewComment) -> Json:
    """A comment on a line of a pull request."""
    repository = store.repository_of(found)
    root = f"{store.url}/repos/{store.full_name(repository)}/pulls"
    page = f"{issues.page_of(store, found)}#discussion_r{one.id}"
    url, pull_url = f"{root}/comments/{one.id}", f"{root}/{found.number}"
    made: Json = {
        "id": one.id,
        "node_id": f"PRRC_{one.id}",
        "url": url,
        "pull_request_review_id": one.review_id,
        "diff_hunk": "@@ -1 +1 @@",
        "path": one.path,
        "line": one.line,
        "original_line": one.line,
        "position": one.line,
        "original_position": one.line,
        "side": one.side,
        "subject_type": "line" if one.line else "file",
        "commit_id": one.commit_id,
        "original_commit_id": one.commit_id,
        "user": accounts.user(store, one.user_id),
        "body": one.body,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "html_url": page,
        "pull_request_url": pull_url,
        "author_association": accounts.association(store, repository, one.user_id),
        "_links": {"self": {"href": url}, "html": {"href": page}, "pull_request": {"href": pull_url}},
        "reactions": issues.rollup(url, one.reactions),
    }
    if one.in_reply_to is not None:
        made["in_reply_to_id"] = one.in_reply_to
    return made


def status(store: Store, repository: Repository, one: Status) -> Json:
    """A commit status."""
    return {
        "id": one.id,
        "node_id": f"SC_{one.id}",
        "url": f"{store.url}/repos/{store.full_name(repository)}/statuses/{one.sha}",
        "avatar_url": None,
        "state": one.state,
        "description": one.description,
        "target_url": one.target_url,
        "context": one.context,
        "creator": accounts.user(store, one.user_id),
        "created_at": one.created_at,
        "updated_at": one.created_at,
    }


def commit(store: Store, repository: Repository, one: Json) -> Json:
    """A commit, from what `git.commits_between` says of it."""
    url = f"{store.url}/repos/{store.full_name(repository)}/commits/{one['sha']}"
    person = {"name": one["name"], "email": one["email"], "date": one["date"]}
    data = {"message": one["message"], "author": person, "committer": person, "url": url, "comment_count": 0}
    return {
        "sha": one["sha"],
        "node_id": f"C_{one['sha']}",
        "url": url,
        "html_url": url,
        "comments_url": url + "/comments",
        "commit": data,
        "author": None,
        "committer": None,
        "parents": [],
    }


def _pulls_with_head(store: Store, repository: Repository, sha: str) -> list[Issue]:
    return [
        issue
        for issue in repository.issues.values()
        if issue.pull
        and issue.state == "open"
        and head_sha(repository, issue.pull, is_open=True) == sha
    ]  # fmt: skip


def _minimal_pulls(store: Store, repository: Repository, sha: str) -> list[Json]:
    root = f"{store.url}/repos/{store.full_name(repository)}"
    repo = {"id": repository.id, "name": repository.name, "url": root}
    return [
        {
            "id": pull_of(issue).id,
            "number": issue.number,
            "url": f"{root}/pulls/{issue.number}",
            "head": {"ref": pull_of(issue).head, "sha": sha, "repo": repo},
            "base": {"ref": pull_of(issue).base, "sha": pull_of(issue).base_sha, "repo": repo},
        }
        for issue in _pulls_with_head(store, repository, sha)
    ]


def check_run(store: Store, repository: Repository, run: CheckRun) -> Json:
    """A check run with its output."""
    url = f"{store.url}/repos/{store.full_name(repository)}/check-runs/{run.id}"
    output = {key: accounts.text_or_none(run.output.get(key)) for key in ("title", "summary", "text")}
    return {
        "id": run.id,
        "node_id": f"CR_{run.id}",
        "head_sha": run.sha,
        "external_id": run.external_id,
        "url": url,
        "html_url": f"{store.url}/{store.full_name(repository)}/runs/{run.id}",
        "details_url": run.details_url,
        "status": run.status,
        "conclusion": run.conclusion,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "name": run.name,
        "output": output | {"annotations_count": 0, "annotations_url": f"{url}/annotations"},
        "check_suite": {"id": run.suite_id},
        "app": accounts.app(store, store.state.apps[run.app_id]),
        "pull_requests": _minimal_pulls(store, repository, run.sha),
    }


def check_suite(store: Store, repository: Repository, runs: list[CheckRun]) -> Json:
    """The suite that these runs (at least one) make up."""
    first = runs[0]
    done = all(run.status == "completed" for run in runs)
    ranked = ("failure", "timed_out", "action_required", "cancelled", "success", "neutral", "skipped", "stale")
    worst = min((run.conclusion for run in runs if run.conclusion), key=ranked.index, default=None)
    pulls = _minimal_pulls(store, repository, first.sha)
    return {
        "id": first.suite_id,
        "node_id": f"CS_{first.suite_id}",
        "head_branch": pulls[0]["head"]["ref"] if pulls else None,
        "head_sha": first.sha,
        "status": "completed" if done else "in_progress",
        "conclusion": worst if done else None,
        "url": f"{store.url}/repos/{store.full_name(repository)}/check-suites/{first.suite_id}",
        "before": None,
        "after": first.sha,
        "pull_requests": pulls,
        "app": accounts.app(store, store.state.apps[first.app_id]),
        "created_at": first.started_at,
        "updated_at": first.completed_at or first.started_at,
        "latest_check_runs_count": len(runs),
        "check_runs_url": f"{store.url}/repos/{store.full_name(repository)}/check-suites/{first.suite_id}/check-runs",
        "head_commit": {"id": first.sha, "tree_id": first.sha, "message": "", "timestamp": first.started_at,
                        "author": {"name": "", "email": ""}, "committer": {"name": "", "email": ""}},
    }  # fmt: skip
