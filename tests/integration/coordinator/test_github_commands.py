"""The commands about GitHub, over HTTP against the fake: care, labels, backfill, a board made again, reconciliation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command, load_command_class
from django.db import connections

from agentgrid.supervisor import ROOT
from coordinator import public_api
from coordinator.ending import outbox
from coordinator.models import Agent, AuditEntry
from grid.models import Execution
from tests.integration.coordinator.command_rows import Said, run
from tests.integration.tracker.fake_github_world import REPOSITORY, Clone
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tests.integration.tracker.test_tracker_processes import database_url
from tracker import public_api as tracker
from tracker import public_sync
from tracker.fake_github import Fault
from tracker.models import Comment, Repository
from tracker.public_types import AgentState as Shown
from tracker.public_types import CloseReason, IssueDraft, Ref

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- care and labels -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("transactional_db", "github_server")
def test_a_repository_is_added_and_listed() -> None:
    assert run("github", "list").out == "none yet; manage.py github add OWNER/REPO takes one under care\n"
    said = run("github", "add", REPOSITORY)
    assert said.code == 0, said
    assert f"manage.py backfill_github {REPOSITORY}" in said.out
    assert [row["scope"] for row in run("github", "list", "--json").json["repositories"]] == [REPOSITORY]
    assert [row["scope"] for row in run("github", "--json", "list").json["repositories"]] == [REPOSITORY]
    assert AuditEntry.objects.get().action == "add_repository"


@pytest.mark.usefixtures("transactional_db")
def test_without_an_account_the_fix_is_named() -> None:
    said = run("github", "add", REPOSITORY)
    assert said.code == 2
    assert "GITHUB_TOKEN" in said.error
    for command in ("github_labels", "backfill_github", "reconcile_github"):
        said = run(command, REPOSITORY)
        assert (said.code, "manage.py github add" in said.error) == (2, True)


def test_check_tells_what_is_wrong_with_remedies(github: GithubHere, settings: Any) -> None:
    settings.PUBLIC_URL = ""
    said = run("github", "check", REPOSITORY)
    assert said.code == 1
    assert "remedy: set PUBLIC_URL" in said.out
    findings = run("github", "check", "--json").json["findings"]
    assert {"account", REPOSITORY} == {finding["about"] for finding in findings}
    assert all(finding["remedy"] for finding in findings if not finding["is_ok"])
    assert "our-token" not in said.out + str(findings)


def test_labels_are_shown_and_created(github: GithubHere) -> None:
    said = run("github_labels", REPOSITORY)
    assert said.code == 1
    assert "--create" in said.out
    assert run("github_labels", REPOSITORY, "--create").code == 0
    again = run("github_labels", REPOSITORY, "--create", "--json")
    assert (again.code, again.json["created"]) == (0, [])
    assert len(again.json["labels"]) == 7


@pytest.mark.parametrize("name", ["github", "github_labels", "backfill_github", "reconcile_github"])
def test_every_command_has_examples(name: str) -> None:
    text = load_command_class("coordinator", name).create_parser("manage.py", name).format_help()
    assert f"  manage.py {name}" in text.partition("examples:")[2]
    assert "--json" in text


# --- a board made again ----------------------------------------------------------------------------------------------------


def show(here: GithubHere, key: str, label: Shown, *, comments: bool = True, **data: Any) -> None:
    """What our agent shows on an issue: its label, and its signed status comment."""
    ours, ref = tracker.tracker_for(here.repository.id), Ref(REPOSITORY, key)
    ours.set_state(ref, label)
    if comments:
        facts = {"state": str(label), "attempt": 1, "branch": f"agent/{key}-x", **data}
        ours.upsert_comment(ref, "status", facts, "**Agent**")


def part(here: GithubHere, parent: str, title: str) -> str:
    """A sub-issue that we made."""
    ours = tracker.tracker_for(here.repository.id)
    made = ours.create(REPOSITORY, IssueDraft(title=title), f"test:{title}").ref
    ours.link_child(Ref(REPOSITORY, parent), made)
    return made.key


@pytest.fixture
def board(github: GithubHere, tmp_path: Path) -> dict[str, str]:
    """Issues in every state as our agents leave them, and some that are not ours; keys by name."""
    alice, rita, tim = (github.as_person(login) for login in ("alice", "rita", "tim"))
    made = {name: str(alice.open_issue(name)) for name in (
        "plain", "wished", "root", "running", "review", "unreviewed", "blocked", "failed", "done", "dropped", "forged",
    )}  # fmt: skip
    made["outsider"] = str(rita.open_issue("outsider", body="run this: curl"))
    ours = tracker.tracker_for(github.repository.id)
    alice.add_label(int(made["wished"]), "agent:ready")
    tim.add_label(int(made["forged"]), "agent:running")
    show(github, made["root"], Shown.WAITING, attempt=2)
    made["part one"], made["part two"] = part(github, made["root"], "part one"), part(github, made["root"], "part two")
    made["part three"] = part(github, made["root"], "part three")
    ours.set_blockers(Ref(REPOSITORY, made["part two"]), {Ref(REPOSITORY, made["part one"])})
    show(github, made["part one"], Shown.RUNNING, attempt=3)
    show(github, made["part three"], Shown.NONE, state="done")
    ours.close(Ref(REPOSITORY, made["part three"]), CloseReason.COMPLETED)
    show(github, made["running"], Shown.RUNNING)
    Clone(github.server, tmp_path / "clone").commit(f"agent/{made['review']}-x", "app.txt", "two\n")
    github.as_person(US).open_pull(f"agent/{made['review']}-x", title="done", draft=True)
    show(github, made["review"], Shown.REVIEW)
    show(github, made["unreviewed"], Shown.REVIEW)
    show(github, made["blocked"], Shown.BLOCKED)
    show(github, made["failed"], Shown.FAILED, attempt=3)
    show(github, made["outsider"], Shown.RUNNING)
    show(github, made["done"], Shown.NONE, state="done")
    ours.close(Ref(REPOSITORY, made["done"]), CloseReason.COMPLETED)
    show(github, made["dropped"], Shown.NONE, state="abandoned")
    ours.close(Ref(REPOSITORY, made["dropped"]), CloseReason.NOT_PLANNED)
    return made


def lose_the_database() -> None:
    """Every row goes; the cache stays, as Redis would."""
    call_command("flush", interactive=False, verbosity=0)


def agents() -> dict[str, tuple[str, str, str, int]]:
    """State, parent, branch and attempts by issue."""
    return {
        agent.issue.key: (agent.state, agent.parent.issue.key if agent.parent else "", agent.branch, agent.attempts)
        for agent in Agent.objects.select_related("issue", "parent__issue")
    }


def rebuilt(here: GithubHere) -> Said:
    lose_the_database()
    assert run("github", "add", REPOSITORY).code == 0
    said = run("backfill_github", REPOSITORY, "--json")
    assert said.code == 0, said
    return said


def test_after_the_database_is_lost_the_board_is_the_same(github: GithubHere, board: dict[str, str]) -> None:
    said = rebuilt(github)

    def branch(name: str) -> str:
        return f"agent/{board[name]}-x"

    found, root = agents(), board["root"]
    assert found == {
        board["root"]: ("waiting", "", branch("root"), 1),
        board["part one"]: ("queued", root, branch("part one"), 2),
        board["part two"]: ("new", root, f"agent/{board['part two']}-part-two", 0),
        board["part three"]: ("done", root, branch("part three"), 0),
        board["running"]: ("queued", "", branch("running"), 0),
        board["review"]: ("review", "", branch("review"), 0),
        board["unreviewed"]: ("blocked", "", branch("unreviewed"), 0),
        board["blocked"]: ("blocked", "", branch("blocked"), 0),
        board["failed"]: ("failed", "", branch("failed"), 3),
        board["outsider"]: ("blocked", "", branch("outsider"), 0),
        board["done"]: ("done", "", branch("done"), 0),
        board["dropped"]: ("abandoned", "", branch("dropped"), 0),
        # Never an agent's so far: a person's wish, taken up because alice may.
        board["wished"]: ("queued", "", f"agent/{board['wished']}-wished", 0),
    }
    assert set(said.json["rebuilt"]["unclaimed"]) == {board["forged"], board["wished"]}
    # What ran is lost and was queued again once; what waits for another issue waits.
    assert Execution.objects.count() == 3
    assert Agent.objects.get(issue__key=board["review"]).head != ""
    assert not public_api.violations()
    # Again, nothing more is made and nothing starts twice.
    assert run("backfill_github", REPOSITORY, "--json").json["rebuilt"]["made"] == {}
    assert agents() == found
    assert Execution.objects.count() == 3


def test_words_of_outsiders_are_approved_again_before_they_run(github: GithubHere, board: dict[str, str]) -> None:
    rebuilt(github)
    agent = Agent.objects.select_related("issue").get(issue__key=board["outsider"])
    assert "agent:ready" in agent.blocked_reason
    assert agent.approved_sha == "unknown"
    others = Agent.objects.exclude(pk=agent.pk)
    assert all(len(sha) == 64 for sha in others.values_list("approved_sha", flat=True))


def test_a_forged_status_comment_makes_no_agent(github: GithubHere) -> None:
    alice, mallory = github.as_person("alice"), github.as_person("tim")
    real = str(alice.open_issue("real"))
    forged = alice.open_issue("forged")
    show(github, real, Shown.RUNNING)
    (comment,) = github.as_person(US).comments(int(real))
    mallory.comment(forged, comment["body"])
    mallory.add_label(forged, "agent:running")
    rebuilt(github)
    assert set(agents()) == {real}


def test_a_label_that_only_we_can_have_put_on_is_believed(github: GithubHere) -> None:
    issue = str(github.as_person("alice").open_issue("x"))
    show(github, issue, Shown.RUNNING, comments=False)
    rebuilt(github)
    assert agents()[issue][0] == "queued", Agent.objects.get().decision


def test_a_backfill_killed_midway_goes_on(github: GithubHere, board: dict[str, str], tmp_path: Path) -> None:
    lose_the_database()
    assert run("github", "add", REPOSITORY).code == 0
    github.server.world.faults.append(Fault(kind="timeout", path="/issues/comments$", when="before", seconds=60))
    child = subprocess.Popen(
        [sys.executable, "manage.py", "backfill_github", REPOSITORY],
        cwd=ROOT,
        env=environment(github, tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: Repository.objects.get().backfill.get("issues") == "done")
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert not Agent.objects.exists()
    said = run("backfill_github", REPOSITORY, "--json")
    assert said.json["read"]["has_resumed"] is True
    assert said.json["read"]["issues"] == 0
    assert Comment.objects.filter(slot="status").count() == 11
    assert agents()[board["root"]][0] == "waiting"
    assert public_sync.compare(Repository.objects.get().pk) == []


def environment(here: GithubHere, folder: Path) -> dict[str, str]:
    """Of a process that works on this test's database."""
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url(),
        "AGENTGRID_STATE_DIR": str(folder / "state"),
        "AGENTGRID_READ_DOTENV": "False",
        "GITHUB_API_URL": here.server.url,
        "GITHUB_GIT_URL": here.server.url,
        "GITHUB_TOKEN": "our-token",
        "GITHUB_SECONDS_BETWEEN_WRITES": "0",
        "SECRET_KEY": str(settings.SECRET_KEY),
    }


def wait_for(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
        connections.close_all()


# --- reconciliation --------------------------------------------------------------------------------------------------------


def test_a_board_in_order_has_no_differences(github: GithubHere, board: dict[str, str]) -> None:
    rebuilt(github)
    outbox.drain(Repository.objects.get().pk)
    said = run("reconcile_github", REPOSITORY, "--json")
    left = [(one["key"], one["what"]) for one in said.json["differences"]]
    assert left == [(board["forged"], "label without an agent")]


def test_labels_are_put_right(github: GithubHere, board: dict[str, str]) -> None:
    rebuilt(github)
    alice = github.as_person("alice")
    alice.add_label(int(board["root"]), "agent:failed")
    alice.add_label(int(board["done"]), "agent:running")
    found = {(one["key"], one["what"]) for one in run("reconcile_github", REPOSITORY, "--json").json["differences"]}
    assert {(board["root"], "two state labels"), (board["done"], "label on a closed issue")} <= found
    assert github.as_person(US).labels(int(board["root"])) == ["agent:waiting", "agent:failed"]  # nothing was changed
    repository_id = Repository.objects.get().pk
    wrong = [one for one in public_api.board_differences(repository_id) if "label" in one.what and one.repair != ""]
    only_labels = [one for one in wrong if one.key in (board["root"], board["done"]) and "show" in one.repair]
    assert public_api.repair_board(repository_id, only_labels, actor="cli:test") == []
    assert github.as_person(US).labels(int(board["root"])) == ["agent:waiting"]
    assert github.as_person(US).labels(int(board["done"])) == []
    assert AuditEntry.objects.filter(action="repair_board").count() == 1
