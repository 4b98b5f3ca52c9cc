"""What goes wrong on the fake GitHub goes wrong as asked, once, and leaves the state it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from github import GithubException, RateLimitExceededException
from github.Repository import Repository

from tests.integration.tracker.fake_github_world import address, furnish, repository, run
from tracker.fake_github import FakeGithub, Fault


@pytest.fixture
def server() -> Iterator[FakeGithub]:
    with FakeGithub.start() as started:
        furnish(started)
        yield started


@pytest.fixture
def repo(server: FakeGithub) -> Iterator[Repository]:
    with repository(server) as found:
        yield found


def titles(server: FakeGithub) -> list[str]:
    return [issue["title"] for issue in server.world.act("alice").api("GET", "/issues", direction="asc")]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["502", "503", "timeout", "disconnect", "403-secondary", "403-primary", "429"])
def test_a_write_fails_once_before_or_after_it_was_applied(
    server: FakeGithub, repo: Repository, kind: str, when: str
) -> None:
    server.world.faults.append(Fault(method="POST", path="/issues$", when=when, kind=kind, seconds=0.05))

    with pytest.raises((GithubException, requests.RequestException)):
        repo.create_issue("One")
    assert titles(server) == (["One"] if when == "after" else [])
    repo.create_issue("Two")

    assert titles(server)[-1] == "Two"
    assert server.world.faults[0].fired == 1


def test_limits_say_when_to_come_back(server: FakeGithub, repo: Repository) -> None:
    faults = [Fault(kind="403-secondary", retry_after=7), Fault(kind="429", retry_after=8), Fault(kind="429"),
              Fault(kind="403-primary", retry_after=90)]  # fmt: skip
    server.world.faults.extend(faults)

    def refusal() -> GithubException:
        with pytest.raises(GithubException) as caught:
            repo.get_issues(state="all").get_page(0)
        return caught.value

    secondary, second, third, primary = (refusal() for _ in faults)
    assert isinstance(secondary, RateLimitExceededException)
    assert (secondary.status, secondary.headers["retry-after"]) == (403, "7")
    assert (second.status, second.headers["retry-after"]) == (429, "8")
    assert "retry-after" not in third.headers
    assert isinstance(primary, RateLimitExceededException)
    assert primary.headers["x-ratelimit-remaining"] == "0"
    assert 80 <= int(primary.headers["x-ratelimit-reset"]) - time.time() <= 95


def test_faults_hit_in_order_and_only_what_they_fit(server: FakeGithub, repo: Repository) -> None:
    issue = repo.create_issue("One")
    server.world.faults.extend(
        [Fault(method="PATCH", path=r"/issues/\d+$", kind="502", times=2), Fault(path="/labels$", kind="503")]
    )

    issue.create_comment("passes")
    for _ in range(2):
        with pytest.raises(GithubException, check=lambda error: error.status == 502):
            issue.edit(title="Two")
    issue.edit(title="Two")
    with pytest.raises(GithubException, check=lambda error: error.status == 503):
        issue.add_to_labels("bug")

    assert [fault.fired for fault in server.world.faults] == [2, 1]


def test_a_stale_read_lags_behind_by_one_write(server: FakeGithub, repo: Repository) -> None:
    repo.create_issue("One")
    server.world.faults.append(Fault(method="GET", path="/issues$", kind="stale"))
    repo.create_issue("Two")
    repo.create_issue("Three")

    def listed() -> list[str]:
        return [issue.title for issue in repo.get_issues(direction="asc", sort="created")]

    assert listed() == ["One", "Two"]
    assert listed() == ["One", "Two", "Three"]


def test_a_stale_read_changes_nothing_of_what_is(server: FakeGithub, repo: Repository) -> None:
    issue = repo.create_issue("One")
    server.world.faults.append(Fault(method="GET", kind="stale"))
    issue.edit(title="Two")

    assert repo.get_issue(1).title == "One"
    assert repo.get_issue(1).title == "Two"
    repo.create_issue("Next")
    assert titles(server) == ["Two", "Next"]


def test_a_lost_answer_to_a_push_is_a_push(tmp_path: Path) -> None:
    with FakeGithub.start(tmp_path / "git") as server:
        furnish(server, files={"a": "1"})
        run("git", "clone", "-q", address(server, "alice-token"), str(tmp_path / "clone"))
        server.world.faults.append(Fault(path="git-receive-pack$", method="POST", kind="502", when="after"))

        said = run("git", "push", "origin", "HEAD:refs/heads/x", cwd=tmp_path / "clone", check=False)

        assert "502" in said
        assert "refs/heads/x" in run("git", "ls-remote", address(server, "alice-token"))


@pytest.mark.parametrize(
    "given", [{"kind": "500x"}, {"kind": "502", "when": "later"}, {"kind": "stale", "when": "after"}]
)
def test_an_impossible_fault_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"use|Use|when"):
        Fault(**given)


def test_many_at_once_get_numbers_of_their_own(server: FakeGithub) -> None:
    def work(index: int) -> None:
        with repository(server) as repo:
            for _ in range(5):
                repo.create_issue(f"By {index}").create_comment("x")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with repository(server) as repo:
        found = list(repo.get_issues(direction="asc", sort="created"))
        assert [issue.number for issue in found] == list(range(1, 41))
        assert {issue.comments for issue in found} == {1}


def test_stopping_ends_connections_threads_and_waiting_clients(server: FakeGithub) -> None:
    server.world.faults.append(Fault(kind="timeout", seconds=60))
    failed: list[Exception] = []

    def wait() -> None:
        try:
            requests.get(f"{server.url}/user", timeout=30)
        except requests.RequestException as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not server.world.faults[0].fired:
        time.sleep(0.01)
    started = time.monotonic()
    server.stop()
    server.stop()
    waiting.join()

    assert len(failed) == 1
    assert time.monotonic() - started < 5
    assert not [thread for thread in server._threads if thread.is_alive()]


def test_what_is_not_http_ends_only_its_own_connection(server: FakeGithub, repo: Repository) -> None:
    for headers in ({"Content-Length": "999999999999"}, {"Content-Length": "-1"}, {"Transfer-Encoding": "chunked"}):
        request = requests.Request("POST", f"{server.url}/repos/acme/widgets/issues", headers=headers).prepare()
        request.headers.update(headers)
        request.body = b"zz\r\n"
        with requests.Session() as session:
            try:
                answer = session.send(request, timeout=5)
            except requests.RequestException:
                continue
            assert answer.status_code in (400, 401, 413)

    assert repo.create_issue("Still here").number == 1
