"""People at work: what somebody does on the fake GitHub in plain calls, with the same rules as over HTTP."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Any

from tracker.fake_github import access, events
from tracker.fake_github.access import Caller
from tracker.fake_github.errors import ApiError, Json
from tracker.fake_github.records import Repository
from tracker.fake_github.routing import dispatch
from tracker.fake_github.store import Store

_EVENTS = {"APPROVED": "APPROVE", "CHANGES_REQUESTED": "REQUEST_CHANGES", "COMMENTED": "COMMENT"}
"""What reviews are called once submitted, for those who say it that way."""


class Actor:
    """One person, or an App's bot, in one repository. Every method raises `ApiError` when GitHub would refuse."""

    def __init__(self, store: Store, caller: Caller, repository: Repository) -> None:
        self._store = store
        self._caller = caller
        self._repository = repository

    def api(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Any call of the API, by its path below the repository, such as `/issues/1`.

        Returns:
            The answer's JSON value; of lists the first 100 items.

        Raises:
            ApiError: The answer was an error.
        """
        full_path = f"/repos/{self._store.full_name(self._repository)}{path}"
        asked = {"per_page": "100", **query}
        answer = dispatch(self._store, self._caller, method, full_path, asked, body)
        if answer.status >= 400:
            raise ApiError(answer.status, answer.body["message"], answer.body.get("errors"))
        return answer.body

    # -- issues

    def open_issue(
        self, title: str, body: str | None = None, labels: Sequence[str] = (), assignees: Sequence[str] = ()
    ) -> int:
        """Open an issue; its number."""
        given = {"title": title, "body": body, "labels": list(labels), "assignees": list(assignees)}
        return int(self.api("POST", "/issues", given)["number"])

    def issue(self, number: int) -> Json:
        """An issue as the API shows it."""
        return dict(self.api("GET", f"/issues/{number}"))

    def edit_issue(self, number: int, title: str | None = None, body: str | None = None) -> None:
        """Change title, body, or both."""
        given = {"title": title, "body": body}
        self.api("PATCH", f"/issues/{number}", {key: value for key, value in given.items() if value is not None})

    def comment(self, number: int, body: str) -> int:
        """Comment on an issue or pull request; the comment's id."""
        return int(self.api("POST", f"/issues/{number}/comments", {"body": body})["id"])

    def comments(self, number: int) -> list[Json]:
        """The comments of an issue, oldest first."""
        return list(self.api("GET", f"/issues/{number}/comments"))

    def edit_comment(self, comment_id: int, body: str) -> None:
        """Edit a comment."""
        self.api("PATCH", f"/issues/comments/{comment_id}", {"body": body})

    def delete_comment(self, comment_id: int) -> None:
        """Delete a comment."""
        self.api("DELETE", f"/issues/comments/{comment_id}")

    def react(self, number: int, content: str) -> None:
        """React to an issue, for instance with `eyes`."""
        self.api("POST", f"/issues/{number}/reactions", {"content": content})

    def add_label(self, number: int, name: str) -> None:
        """Label an issue or pull request."""
        self.api("POST", f"/issues/{number}/labels", {"labels": [name]})

    def remove_label(self, number: int, name: str) -> None:
        """Take a label off."""
        self.api("DELETE", f"/issues/{number}/labels/{urllib.parse.quote(name, safe='')}")

    def labels(self, number: int) -> list[str]:
        """The names of an issue's labels."""
        return [label["name"] for label in self.issue(number)["labels"]]

    def assign(self, number: int, login: str) -> None:
        """Assign somebody; whoever cannot be assigned is dropped silently."""
        self.api("POST", f"/issues/{number}/assignees", {"assignees": [login]})

    def unassign(self, number: int, login: str) -> None:
        """Un-assign somebody."""
        self.api("DELETE", f"/issues/{number}/assignees", {"assignees": [login]})

    def close(self, number: int, reason: str = "completed") -> None:
        """Close an issue: `completed`, `not_planned` or `duplicate`."""
        self.api("PATCH", f"/issues/{number}", {"state": "closed", "state_reason": reason})

    def reopen(self, number: int) -> None:
        """Open an issue again."""
        self.api("PATCH", f"/issues/{number}", {"state": "open"})

    def delete_issue(self, number: int) -> None:
        """Delete an issue for good; takes admin."""
        query = "mutation M($input: DeleteIssueInput!) { deleteIssue(input: $input) { repository { id } } }"
        self._graphql(query, {"input": {"issueId": self.issue(number)["node_id"]}})

    # -- structure, by numbers

    def add_sub_issue(self, parent: int, child: int, *, replace_parent: bool = False) -> None:
        """Make an issue the child of another one."""
        given = {"sub_issue_id": self.issue(child)["id"], "replace_parent": replace_parent}
        self.api("POST", f"/issues/{parent}/sub_issues", given)

    def remove_sub_issue(self, parent: int, child: int) -> None:
        """Part a child from its parent."""
        self.api("DELETE", f"/issues/{parent}/sub_issue", {"sub_issue_id": self.issue(child)["id"]})

    def sub_issues(self, parent: int) -> list[int]:
        """The numbers of the children, in their order."""
        return [child["number"] for child in self.api("GET", f"/issues/{parent}/sub_issues")]

    def add_blocker(self, number: int, blocker: int) -> None:
        """Let an issue wait for another one."""
        given = {"issue_id": self.issue(blocker)["id"]}
        self.api("POST", f"/issues/{number}/dependencies/blocked_by", given)

    def remove_blocker(self, number: int, blocker: int) -> None:
        """Let an issue no longer wait for another one."""
        self.api("DELETE", f"/issues/{number}/dependencies/blocked_by/{self.issue(blocker)['id']}")

    def blockers(self, number: int) -> list[int]:
        """The numbers of the issues that this one waits for."""
        return [blocker["number"] for blocker in self.api("GET", f"/issues/{number}/dependencies/blocked_by")]

    # -- pull requests

    def open_pull(self, head: str, base: str = "main", title: str = "", body: str = "", *, draft: bool = False) -> int:
        """Open a pull request; its number."""
        given = {"head": head, "base": base, "title": title or head, "body": body, "draft": draft}
        return int(self.api("POST", "/pulls", given)["number"])

    def pull(self, number: int) -> Json:
        """A pull request as the API shows it."""
        return dict(self.api("GET", f"/pulls/{number}"))

    def pulls(self, state: str = "all") -> list[Json]:
        """Pull requests, newest first."""
        return list(self.api("GET", "/pulls", state=state))

    def review(self, number: int, state: str, body: str = "", comments: Sequence[Json] = ()) -> int:
        """Submit a review; its id.

        Args:
            state: `APPROVE`, `REQUEST_CHANGES` or `COMMENT`.
            comments: Each with `path`, `line` and `body`.
        """
        given = {"event": _EVENTS.get(state.upper(), state.upper()), "body": body, "comments": list(comments)}
        return int(self.api("POST", f"/pulls/{number}/reviews", given)["id"])

    def review_comment(self, number: int, body: str, path: str, line: int) -> int:
        """Comment on one line; the comment's id."""
        given = {"body": body, "path": path, "line": line, "commit_id": self.pull(number)["head"]["sha"]}
        return int(self.api("POST", f"/pulls/{number}/comments", given)["id"])

    def mark_ready(self, number: int) -> None:
        """Turn a draft into a pull request for review."""
        query = (
            "mutation M($input: MarkPullRequestReadyForReviewInput!) { markPullRequestReadyForReview(input: $input) }"
        )
        self._graphql(query, {"input": {"pullRequestId": self.pull(number)["node_id"]}})

    def _graphql(self, query: str, variables: Json) -> None:
        answer = dispatch(self._store, self._caller, "POST", "/graphql", body={"query": query, "variables": variables})
        if answer.status >= 400:
            raise ApiError(answer.status, answer.body["message"])
        for error in answer.body.get("errors") or ():
            raise ApiError(422, error["message"])

    def merge(self, number: int, method: str = "merge") -> str:
        """Merge a pull request, in the git repository too; the merge's commit."""
        return str(self.api("PUT", f"/pulls/{number}/merge", {"merge_method": method})["sha"])

    def close_pull(self, number: int) -> None:
        """Close a pull request without merging."""
        self.api("PATCH", f"/pulls/{number}", {"state": "closed"})

    # -- checks

    def set_status(self, sha: str, state: str, context: str = "ci", description: str = "") -> int:
        """Set a commit status: `success`, `failure`, `error` or `pending`."""
        given = {"state": state, "context": context, "description": description}
        return int(self.api("POST", f"/statuses/{sha}", given)["id"])

    def check_run(self, sha: str, name: str, conclusion: str | None, output: Json | None = None) -> int:
        """Add a check run as CI does; people speak for the App `github-actions` here. The run's id.

        Args:
            conclusion: `success`, `failure` and so on; None: still in progress.
            output: `title`, `summary` and `text`.
        """
        given: Json = {"head_sha": sha, "name": name, "output": output or {}}
        given |= {"status": "in_progress"} if conclusion is None else {"status": "completed", "conclusion": conclusion}
        runner = Actor(self._store, actions_caller(self._store, self._repository), self._repository)
        speaker = self if self._caller.kind == "installation" else runner
        return int(speaker.api("POST", "/check-runs", given)["id"])

    def finish_workflow(self, sha: str, name: str, conclusion: str, branch: str) -> None:
        """Announce a completed workflow run; only the event, nothing is kept."""
        with self._store.writing():
            run = {"id": self._store.new_id(), "name": name, "head_sha": sha, "head_branch": branch,
                   "event": "push", "status": "completed", "conclusion": conclusion, "pull_requests": [],
                   "html_url": f"{self._store.url}/{self._store.full_name(self._repository)}/actions"}  # fmt: skip
            actor_id = self._caller.user_id
            events.emit(self._store, "workflow_run", "completed", self._repository, actor_id, workflow_run=run)


def actions_caller(store: Store, repository: Repository) -> Caller:
    """GitHub Actions, which every account has installed."""
    for installation in store.state.installations.values():
        app = store.state.apps[installation.app_id]
        if app.slug == "github-actions" and installation.account_id == repository.owner_id:
            return access.for_installation(store, installation.id)
    raise LookupError("github-actions is not installed; add the repository with World.add_repository")
