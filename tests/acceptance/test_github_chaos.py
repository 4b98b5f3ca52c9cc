"""Workers killed while they write to GitHub, and no webhook for a while: the issue ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.services.stack import Stack
from tracker.fake_github import FakeGithub, Fault
from tracker.fake_github.hook_records import Hook

SECRET = "s3cret-of-the-hook"
REPOSITORY = "acme/widgets"
CONTROLS = ("control", "control2")
PARTS = {
    "outcome": "split",
    "summary": "Two parts.",
    "children": [
        {"key": "a", "title": "Part one", "body": "Do it.", "blocked_by": [], "acceptance": []},
        {"key": "b", "title": "Part two", "body": "Do it.", "blocked_by": ["a"], "acceptance": []},
    ],
}
COMMAND = f"""
read -r sharp grid mode number title
case "$mode $title" in
  *Part*) echo x > "part-$number.txt" ;;
  resume*) echo x > whole.txt ;;
  *) mkdir -p .agentgrid; echo '{json.dumps(PARTS)}' > .agentgrid/outcome.json ;;
esac
"""
POLICY = json.dumps({"agent": {"adapter": "command", "options": {"command": COMMAND}}})


@pytest.fixture
def github(tmp_path: Any) -> Iterator[FakeGithub]:
    """A fake GitHub with our App on `acme/widgets`."""
    with FakeGithub.start(git_root=tmp_path) as server:
        server.world.add_repository(REPOSITORY, {"alice": "admin"}, files={".agentgrid.yml": POLICY})
        server.world.add_installation(server.world.add_app(), "acme")
        yield server


@pytest.fixture
def hook(github: FakeGithub, grid: Stack) -> Hook:
    """Our webhook."""
    url = f"http://127.0.0.1:{grid.port}/webhooks/github/"
    return github.world.add_hook(github.world.state.apps[1], url=url, secret=SECRET, duplicate=True)


@pytest.fixture
def grid(new_stack: Callable[..., Stack], github: FakeGithub) -> Stack:
    """Web, two control workers, executions and beat."""
    app = github.world.state.apps[1]
    variables = {
        "GITHUB_API_URL": github.url,
        "GITHUB_GIT_URL": github.url,
        "GITHUB_APP_ID": str(app.id),
        "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "GITHUB_SECONDS_BETWEEN_WRITES": "0",
        "AGENTGRID_SYNC_SECONDS": "1",
    }
    made: Stack = new_stack(extra_env=variables)
    made.manage("github", "add", REPOSITORY)
    return made.start("web", *("control", "executions", "beat")).start_another("control", "control2")


def talking(grid: Stack, github: FakeGithub) -> str:
    """The control worker that waits for an answer of GitHub's."""
    port = int(github.url.rpartition(":")[2])
    for name in CONTROLS:
        for process in [psutil.Process(grid.pid(name)), *psutil.Process(grid.pid(name)).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                for one in process.net_connections("tcp"):
                    if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED:
                        return name
    return ""


def written(github: FakeGithub) -> list[Any]:
    """Every write to the repository so far."""
    return [line for line in list(github.traffic) if line[0] != "GET" and line[1].startswith("/repos/")]


def kill_whoever_writes(grid: Stack, github: FakeGithub, path: str) -> None:
    """Kill a control worker between a write and its answer, and let the lease that it held run out."""
    fault = Fault(kind="timeout", when="after", method="POST", path=path, seconds=3)
    github.world.faults.append(fault)
    grid.wait_until(lambda: fault.fired, f"somebody writes to {path}", timeout=90, pause=0.05)
    name = talking(grid, github)
    assert name, "nobody waits for the answer"
    grid.kill9(name)
    before = len(written(github))
    time.sleep(1.5)
    assert len(written(github)) == before  # the other one keeps away from a repository that is somebody's
    with contextlib.closing(sqlite3.connect(grid.state_dir / "agentgrid.sqlite3", timeout=20)) as database, database:
        over = "UPDATE tracker_repository SET outbox_lease_until = '2000-01-01 00:00:00' WHERE outbox_lease_until > ''"
        assert database.execute(over).rowcount == 1  # a minute has passed
    if name == "control":
        grid.start("control")
    else:
        grid.start_another("control", name)


@pytest.mark.timeout(300)
def test_killed_writers_and_lost_webhooks_leave_everything_there_once(
    grid: Stack, github: FakeGithub, hook: Hook
) -> None:
    alice, world = github.world.act("alice", REPOSITORY), github.world
    world.auto_deliver = hook.drop = True
    number = alice.open_issue("Whole", "Do it.")
    alice.add_label(number, "agent:ready")
    kill_whoever_writes(grid, github, "/issues$")  # the first sub-issue
    grid.wait_until(lambda: len(alice.sub_issues(number)) == 2, "both sub-issues are there", timeout=90)
    hook.drop = False
    kill_whoever_writes(grid, github, "/pulls$")
    grid.wait_until(lambda: alice.labels(number) == ["agent:review"], "the pull request waits for review", timeout=90)
    notices = [f"Pull request #{alice.pulls()[0]['number']} is a draft", "has split this issue into 2 sub-issues"]

    def said(issue: int) -> list[str]:
        return [one["body"] for one in alice.comments(issue) if one["user"]["type"] == "Bot"]

    grid.wait_until(
        lambda: all(any(words in body for body in said(number)) for words in notices), "people are told", timeout=90
    )
    issues = [one for one in alice.api("GET", "/issues", state="all") if "pull_request" not in one]
    first, second = alice.sub_issues(number)
    assert sorted(one["number"] for one in issues) == [number, first, second]
    assert [one["title"] for one in sorted(issues, key=lambda one: one["number"])] == ["Whole", "Part one", "Part two"]
    assert alice.blockers(second) == [first]
    assert [alice.issue(part)["state"] for part in (first, second)] == ["closed", "closed"]
    assert [alice.labels(part) for part in (first, second)] == [[], []]
    assert len(alice.pulls()) == 1
    for issue in (number, first, second):
        assert sum("agent-grid:status" in body for body in said(issue)) == 1
    assert [sum(words in body for body in said(number)) for words in notices] == [1, 1]
    agents = grid.manage_json("tree", "1")["agents"]
    assert sorted(agent["executions"] for agent in agents) == [1, 1, 2]
    assert any(one.status_code == 202 for one in world.deliveries), "no webhook came in afterwards"
