"""Pull requests, reviews, checks and git over HTTP on the fake GitHub; the git is real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from github import Auth, GithubException
from github.Repository import Repository

from tests.integration.tracker.fake_github_world import Clone, address, furnish, repository, run
from tracker.fake_github import FakeGithub


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeGithub]:
    with FakeGithub.start(tmp_path / "git") as started:
        furnish(started, files={"README.md": "# widgets\n", "src/main.py": "print(1)\n"})
        yield started


@pytest.fixture
def repo(server: FakeGithub) -> Iterator[Repository]:
    with repository(server) as found:
        yield found


@pytest.fixture
def clone(server: FakeGithub, tmp_path: Path) -> Clone:
    return Clone(server, tmp_path / "clone")


def refused(status: int) -> Any:
    return pytest.raises(GithubException, check=lambda error: error.status == status)


def events(server: FakeGithub) -> list[tuple[str, str | None]]:
    return [(one.event, one.action) for one in server.world.deliveries]


def test_a_clone_holds_the_first_commit(clone: Clone) -> None:
    assert (clone.folder / "src" / "main.py").read_text() == "print(1)\n"


def test_git_asks_for_a_token_and_for_the_right_to_write(server: FakeGithub, clone: Clone) -> None:
    def push(token: str) -> str:
        branch = f"HEAD:refs/heads/by-{token or 'nobody'}"
        return run("git", "push", address(server, token), branch, cwd=clone.folder, check=False)

    assert "403" in push("rita-token")
    assert "could not read Username" in push("") or "401" in push("") or "terminal prompts disabled" in push("")
    assert "not found" in push("mallory-token")
    assert "Authentication failed" in push("guessed")
    assert "new branch" in push("alice-token")
    assert run("git", "ls-remote", address(server, "rita-token"), "refs/heads/main")
    assert "not found" in run("git", "ls-remote", address(server, "mallory-token"), check=False)


def test_a_public_repository_is_cloned_without_a_token(server: FakeGithub, tmp_path: Path) -> None:
    server.world.add_repository("acme/open", private=False, files={"a": "1"})

    run("git", "clone", "-q", address(server, "", "acme/open"), str(tmp_path / "open"))

    assert "403" in run("git", "push", address(server, "rita-token", "acme/open"), "HEAD:x", cwd=tmp_path / "open",
                        check=False)  # fmt: skip


def test_an_app_pushes_with_its_installation_token(server: FakeGithub, clone: Clone) -> None:
    app = server.world.add_app()
    number = server.world.add_installation(app)
    hook = server.world.add_hook(app, url="http://127.0.0.1:9/", secret="s")
    auth = Auth.AppAuth(app.id, app.private_key_pem).get_installation_auth(number)
    with repository(server, auth):
        token = auth.token
        run("git", "push", "-q", address(server, token), "HEAD:refs/heads/agent/1", cwd=clone.folder)

    pushed = server.world.deliveries[-1]
    assert (pushed.event, pushed.hook_id) == ("push", hook.id)
    assert b'"ref": "refs/heads/agent/1"' in pushed.body
    assert b'"login": "agent-grid[bot]"' in pushed.body
    server.world.set_app_permissions(number, {"contents": "read"})
    weak = Auth.AppAuth(app.id, app.private_key_pem).get_installation_auth(number)
    with repository(server, weak):
        assert "403" in run("git", "push", address(server, weak.token), "HEAD:x", cwd=clone.folder, check=False)


def test_a_pull_request_needs_branches_commits_and_to_be_the_only_one(repo: Repository, clone: Clone) -> None:
    run("git", "push", "-q", "origin", "HEAD:refs/heads/same", cwd=clone.folder)
    clone.commit("feature", "new.py", "print(2)\n")

    for head in ("missing", "same"):
        with refused(422):
            repo.create_pull(base="main", head=head, title="x")
    made = repo.create_pull(base="main", head="feature", title="x", draft=True)
    with refused(422):
        repo.create_pull(base="main", head="feature", title="again")

    assert made.draft
    assert [one.number for one in repo.get_pulls(state="all", head="acme:feature")] == [made.number]
    assert list(repo.get_pulls(head="acme:other")) == []
    assert [(one.filename, one.status, one.additions) for one in made.get_files()] == [("new.py", "added", 1)]
    assert "print(2)" in next(iter(made.get_files())).patch
    made.edit(state="closed")
    assert repo.create_pull(base="main", head="feature", title="again").number == made.number + 1


def test_a_draft_becomes_ready_and_a_draft_again(server: FakeGithub, repo: Repository, clone: Clone) -> None:
    server.world.add_hook("acme/widgets", url="http://127.0.0.1:9/", events=["pull_request"])
    clone.commit("feature", "new.py", "x\n")
    pull = repo.create_pull(base="main", head="feature", title="x", draft=True)

    with refused(405):
        pull.merge()
    pull.mark_ready_for_review()
    assert not repo.get_pull(pull.number).draft
    pull.convert_to_draft()

    assert repo.get_pull(pull.number).draft
    actions = [action for _, action in events(server)]
    assert actions == ["opened", "ready_for_review", "converted_to_draft"]


def test_a_merge_is_a_commit_and_closes_what_it_names(server: FakeGithub, repo: Repository, clone: Clone) -> None:
    alice = server.world.act("alice")
    issue, other = alice.open_issue("Named"), alice.open_issue("Not named")
    sha = clone.commit("feature", "new.py", "x\n")
    pull = repo.create_pull(base="main", head="feature", title="Add it", body=f"Closes #{issue}\n\nSee #{other}.")

    assert repo.get_pull(pull.number).mergeable
    merged = pull.merge(sha=sha)

    run("git", "pull", "-q", "origin", "main", cwd=clone.folder)
    run("git", "checkout", "-q", "main", cwd=clone.folder)
    run("git", "pull", "-q", cwd=clone.folder)
    assert run("git", "rev-parse", "HEAD", cwd=clone.folder) == merged.sha
    assert run("git", "rev-parse", "HEAD^2", cwd=clone.folder) == sha
    assert (clone.folder / "new.py").read_text() == "x\n"
    assert repo.get_pull(pull.number).merged
    assert repo.get_pull(pull.number).merged_by.login == "alice"
    assert (repo.get_issue(issue).state, repo.get_issue(issue).state_reason) == ("closed", "completed")
    assert repo.get_issue(other).state == "open"
    with refused(405):
        pull.merge()


def test_a_merge_into_another_branch_closes_nothing(server: FakeGithub, repo: Repository, clone: Clone) -> None:
    issue = server.world.act("alice").open_issue("Named")
    clone.commit("parent", "a.py", "a\n")
    clone.commit("child", "b.py", "b\n")

    server.world.act("alice").merge(repo.create_pull(base="parent", head="child", title=f"Fixes #{issue}").number)

    assert repo.get_issue(issue).state == "open"


def test_a_conflict_and_a_moved_head_are_not_merged(repo: Repository, clone: Clone) -> None:
    start = run("git", "rev-parse", "HEAD", cwd=clone.folder)
    old = clone.commit("one", "README.md", "one\n")
    first = repo.create_pull(base="main", head="one", title="one")
    clone.commit("two", "README.md", "two\n", start=start)
    second = repo.create_pull(base="main", head="two", title="two")
    clone.commit("one", "more.md", "more\n")

    with refused(409):
        first.merge(sha=old)
    first.merge()
    assert repo.get_pull(second.number).mergeable is False
    assert repo.get_pull(second.number).mergeable_state == "dirty"
    with refused(405):
        second.merge()


def test_a_push_moves_the_pull_request_and_deleting_the_branch_closes_it(
    server: FakeGithub, repo: Repository, clone: Clone
) -> None:
    server.world.add_hook("acme/widgets", url="http://127.0.0.1:9/")
    before = clone.commit("feature", "a.py", "1\n")
    pull = repo.create_pull(base="main", head="feature", title="x")
    after = clone.commit("feature", "a.py", "2\n")

    assert repo.get_pull(pull.number).head.sha == after != before
    assert events(server)[-2:] == [("push", None), ("pull_request", "synchronize")]
    assert repo.get_git_ref("heads/feature").object.sha == after
    run("git", "push", "-q", "origin", ":feature", cwd=clone.folder)

    closed = repo.get_pull(pull.number)
    assert (closed.state, closed.merged, closed.head.sha) == ("closed", False, after)


def test_a_branch_is_created_by_one_of_many(repo: Repository) -> None:
    sha = repo.get_branch("main").commit.sha

    assert repo.create_git_ref("refs/heads/agent/1", sha).object.sha == sha
    with refused(422):
        repo.create_git_ref("refs/heads/agent/1", sha)


def test_a_pull_request_of_a_fork_says_whose_it_is(server: FakeGithub, repo: Repository, clone: Clone) -> None:
    server.world.set_permission("acme/widgets", "mallory", "read")
    clone.commit("patch", "a.py", "1\n")
    number = server.world.act("mallory").open_pull("mallory:patch", title="Trust me")

    head = repo.get_pull(number).head
    assert (head.repo.full_name, head.repo.fork, head.label) == ("mallory/widgets", True, "mallory:patch")


def test_reviews_with_comments_on_lines(server: FakeGithub, repo: Repository, clone: Clone) -> None:
    server.world.add_hook("acme/widgets", url="http://127.0.0.1:9/")
    clone.commit("feature", "a.py", "1\n")
    pull = repo.create_pull(base="main", head="feature", title="x")
    adam = server.world.act("adam")

    with refused(422):
        pull.create_review(body="great", event="APPROVE")
    adam.review(pull.number, "REQUEST_CHANGES", "Please rename it", [{"path": "a.py", "line": 1, "body": "this one"}])
    single = adam.review_comment(pull.number, "and this", "a.py", 1)
    answer = pull.create_review_comment_reply(single, "done")

    review = next(iter(pull.get_reviews()))
    assert (review.state, review.user.login, review.body) == ("CHANGES_REQUESTED", "adam", "Please rename it")
    assert [one.body for one in pull.get_review_comments()] == ["this one", "and this", "done"]
    assert [one.body for one in pull.get_single_review_comments(review.id)] == ["this one"]
    pull.get_review_comment(single).create_reaction("eyes")
    assert [one.content for one in pull.get_review_comment(single).get_reactions()] == ["eyes"]
    assert (answer.in_reply_to_id, answer.path) == (single, "a.py")
    assert events(server)[-4:] == [
        ("pull_request_review", "submitted"),
        ("pull_request_review_comment", "created"),
        ("pull_request_review_comment", "created"),
        ("pull_request_review_comment", "created"),
    ]


def test_statuses_and_checks_of_a_head(server: FakeGithub, repo: Repository, clone: Clone) -> None:
    server.world.add_hook("acme/widgets", url="http://127.0.0.1:9/")
    sha = clone.commit("agent/1-x", "a.py", "1\n")
    alice = server.world.act("alice")
    number = alice.open_pull("agent/1-x")
    alice.set_status(sha, "pending", "lint")
    alice.set_status(sha, "success", "lint")
    output = {"title": "Tests", "summary": "1 failed", "text": "E  assert 1 == 2"}
    alice.check_run(sha, "tests", "failure", output)

    commit = repo.get_commit(sha)
    assert (commit.get_combined_status().state, commit.get_combined_status().total_count) == ("success", 1)
    run_ = next(iter(commit.get_check_runs()))
    assert (run_.name, run_.conclusion, run_.output.text) == ("tests", "failure", "E  assert 1 == 2")
    assert [one.number for one in run_.pull_requests] == [number]
    assert [suite.conclusion for suite in commit.get_check_suites()] == ["failure"]
    assert [one.name for one in repo.get_commit("agent/1-x").get_check_runs()] == ["tests"]
    assert events(server)[-5:] == [
        ("status", None), ("status", None), ("check_run", "created"), ("check_run", "completed"),
        ("check_suite", "completed"),
    ]  # fmt: skip
    with refused(403):
        repo.create_check_run("tests", sha)
    with refused(422):
        repo.get_commit("f" * 40)


def test_a_branch_named_like_an_option_is_only_a_name(server: FakeGithub, repo: Repository) -> None:
    for name in ("--output=/tmp/x", "main..main", "main^{tree}", "@{-1}"):
        with refused(422):
            repo.create_pull(base="main", head=name, title="x")
        with refused(422):
            repo.requester.requestJsonAndCheck("GET", f"{repo.url}/commits/{name.replace('/', '%2F')}/status")
