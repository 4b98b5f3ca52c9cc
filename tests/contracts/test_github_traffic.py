"""What PyGithub sends and the fake GitHub answers, against the schemas that we wrote down for GitHub."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from github import Auth, Github, GithubIntegration
from github.Repository import Repository

from tests.contracts.github_schemas import OPERATIONS, problems
from tracker.fake_github import App, FakeGithub, git
from tracker.fake_github.world import APP_PERMISSIONS


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """Everything that we ever ask of GitHub, once."""
    with FakeGithub.start(tmp_path_factory.mktemp("git")) as server:
        world = server.world
        world.add_repository("acme/widgets", {"adam": "admin", "alice": "write"}, files={"README.md": "# widgets\n"})
        world.add_token("adam-token", "adam")
        app = world.add_app(permissions=APP_PERMISSIONS | {"statuses": "write"})
        world.add_hook(app, url="http://127.0.0.1:9/", secret="s", drop=True)
        number = world.add_installation(app)
        _as_app(server, app, number)
        with _client(server, Auth.Token("adam-token")) as github:
            _as_admin(server, github)
        with _client(server, Auth.AppAuth(app.id, app.private_key_pem).get_installation_auth(number)) as github:
            repository = github.get_repo("acme/widgets")
            _issues(repository)
            _structure(repository)
            _pulls(server, repository)
            github.requester.requestJsonAndCheck("GET", "/installation/repositories")
        return list(server.traffic)


@contextlib.contextmanager
def _client(server: FakeGithub, auth: Auth.Auth) -> Iterator[Github]:
    quick: dict[str, Any] = {"retry": None, "seconds_between_requests": None, "seconds_between_writes": None}
    with contextlib.closing(Github(base_url=server.url, auth=auth, **quick)) as github:
        yield github


def _as_app(server: FakeGithub, app: App, number: int) -> None:
    auth = Auth.AppAuth(app.id, app.private_key_pem)
    quick: dict[str, Any] = {"retry": None, "seconds_between_requests": None, "seconds_between_writes": None}
    with GithubIntegration(auth=auth, base_url=server.url, **quick) as integration:
        integration.get_app()
        list(integration.get_installations())
        integration.get_app_installation(number)
        integration.get_repo_installation("acme", "widgets")
        integration.get_access_token(number, permissions={"issues": "write"})
        server.world.act("alice").open_issue("From a person")
        server.world.deliver()
        headers = {"Authorization": f"Bearer {auth.create_jwt()}"}
        ask = integration.requester.requestJsonAndCheck
        ask("GET", "/app/hook/config", headers=headers)
        failed = ask("GET", "/app/hook/deliveries", headers=headers)[1]
        ask("POST", f"/app/hook/deliveries/{failed[0]['id']}/attempts", headers=headers)


def _as_admin(server: FakeGithub, github: Github) -> None:
    assert github.get_user().login == "adam"
    github.get_user("alice")
    github.get_rate_limit()
    repository = github.get_repo("acme/widgets")
    repository.get_collaborator_permission("alice")
    hook = repository.create_hook(
        "web", {"url": "http://127.0.0.1:9/x", "content_type": "json", "secret": "s"}, ["issues"]
    )
    list(repository.get_hooks())
    server.world.deliver(drop=True)
    delivery = next(iter(repository.get_hook_deliveries(hook.id)))
    github.requester.requestJsonAndCheck("POST", f"{hook.url}/deliveries/{delivery.id}/attempts")


def _issues(repository: Repository) -> None:
    repository.create_label("agent:ready", "0e8a16", "Take it")
    repository.get_label("agent:ready")
    list(repository.get_labels())
    issue = repository.create_issue("One", body="Text", labels=["agent:ready"], assignees=["alice"])
    issue.edit(title="Uno", body="More", state="closed", state_reason="not_planned")
    issue.edit(state="open")
    list(repository.get_issues(state="all", sort="updated", direction="asc"))
    issue.add_to_labels("agent:running")
    issue.remove_from_labels("agent:ready")
    list(issue.get_labels())
    issue.remove_from_assignees("alice")
    issue.add_to_assignees("alice", "nobody")
    comment = issue.create_comment("Working")
    issue.get_comment(comment.id).edit("Done")
    list(issue.get_comments())
    list(repository.get_issues_comments(sort="updated", direction="asc"))
    for _ in range(2):
        comment.create_reaction("eyes")
        issue.create_reaction("eyes")
    list(comment.get_reactions())
    list(issue.get_reactions())
    for method in ("PUT", "DELETE"):
        repository.requester.requestJsonAndCheck(method, f"{comment.url}/pin")
    comment.delete()
    repository.get_issue(issue.number)


def _structure(repository: Repository) -> None:
    parent, first, second = (repository.create_issue(name) for name in ("Parent", "First", "Second"))
    parent.add_sub_issue(first.id)
    repository.requester.requestJsonAndCheck(
        "POST", f"{parent.url}/sub_issues", input={"sub_issue_id": second.id, "replace_parent": True}
    )
    parent.prioritize_sub_issue(first.id, second.id)
    repository.requester.requestJsonAndCheck(
        "PATCH", f"{parent.url}/sub_issues/priority", input={"sub_issue_id": first.id, "before_id": second.id}
    )
    list(parent.get_sub_issues())
    repository.requester.requestJsonAndCheck("GET", f"{first.url}/parent")
    second.add_blocked_by(first)
    list(second.get_blocked_by())
    list(first.get_blocking())
    second.remove_blocked_by(first)
    parent.remove_sub_issue(second.id)
    list(parent.get_timeline())
    list(second.get_timeline())
    list(second.get_events())


def _pulls(server: FakeGithub, repository: Repository) -> None:
    sha = repository.get_git_ref("heads/main").object.sha
    repository.get_branch("main")
    commit = _commit_on_branch(server, sha)
    pull = repository.create_pull(base="main", head="agent/1-x", title="Do it", body="Closes #1", draft=True)
    pull.edit(title="Do it well")
    pull.mark_ready_for_review()
    list(repository.get_pulls(state="all", head="acme:agent/1-x"))
    list(pull.get_files())
    list(pull.get_commits())
    alice = server.world.act("alice")
    alice.review(pull.number, "REQUEST_CHANGES", "Not yet", [{"path": "new.txt", "line": 1, "body": "why?"}])
    pull.create_review(body="Thanks", event="COMMENT")
    list(pull.get_reviews())
    remark = next(iter(pull.get_review_comments()))
    list(repository.get_pulls_review_comments())
    pull.get_review_comment(remark.id).create_reaction("eyes")
    list(remark.get_reactions())
    head = repository.get_commit(commit)
    head.create_status("success", context="lint", description="clean")
    head.get_combined_status()
    output = {"title": "Tests", "summary": "1 failed", "text": "E  assert"}
    repository.create_check_run("tests", commit, conclusion="failure", output=output)
    list(head.get_check_runs())
    list(head.get_check_suites())
    pull.merge(sha=commit)
    assert pull.is_merged()
    repository.get_pull(pull.number)


def _commit_on_branch(server: FakeGithub, base: str) -> str:
    """A commit with one new file on `agent/1-x`."""
    found = server.world.repository("acme/widgets").git_dir
    assert isinstance(found, Path)
    stream = (
        f"commit refs/heads/agent/1-x\ncommitter A <a@example.com> 1767225600 +0000\ndata 3\nNew\nfrom {base}\n"
        "M 100644 inline new.txt\ndata 4\nnew\n\n"
    )
    git.run(found, "fast-import", "--quiet", given=stream)
    return git.refs(found)["refs/heads/agent/1-x"]


def test_all_requests_and_answers_conform(traffic: list[list[Any]]) -> None:
    assert problems(traffic) == []


def test_every_operation_we_know_was_tried(traffic: list[list[Any]]) -> None:
    tried = {f"{method} {template}" for method, template, _, status, _ in traffic if status < 400}

    assert set(OPERATIONS) - tried == set()


def _entry(traffic: list[list[Any]], method: str, ending: str) -> list[Any]:
    return copy.deepcopy(next(one for one in traffic if one[0] == method and one[1].endswith(ending) and one[3] < 400))


def test_the_check_sees_a_wrong_request_and_a_wrong_answer(traffic: list[list[Any]]) -> None:
    closed = _entry(traffic, "PATCH", "/issues/{issue_number}")
    closed[2]["state"] = "done"
    misspelt = _entry(traffic, "POST", "/sub_issues")
    misspelt[2]["subissue_id"] = 1
    moved = _entry(traffic, "PATCH", "/sub_issues/priority")
    moved[2].update(after_id=1, before_id=2)
    nameless = _entry(traffic, "GET", "/issues")
    del nameless[4][0]["node_id"]
    odd = _entry(traffic, "GET", "/permission")
    odd[4]["permission"] = "triage"
    unknown: list[Any] = ["GET", "/gists", None, 200, []]
    created = _entry(traffic, "POST", "/issues")
    created[3] = 200
    refused: list[Any] = ["GET", "/gists", None, 404, "no"]

    for entry in (closed, misspelt, moved, nameless, odd, unknown, created, refused):
        assert len(problems([entry])) == 1, entry[:2]
