"""Pull requests, from a finished root to a merged change: real runs, real git over HTTP, a fake GitHub."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from coordinator import invariants
from coordinator.agents import tree
from coordinator.care import repositories
from coordinator.models import Agent
from coordinator.operating import control
from coordinator.trees import reports
from grid.models import Execution
from tests.factories import git
from tests.integration.coordinator.github_trees import Office, office, prompt, runs, state  # noqa: F401 - a fixture
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_account import APP, account
from tests.integration.tracker.github_here import GithubHere, github, github_server  # noqa: F401 - fixtures
from tracker import public_sync
from tracker.fake_github import Fault
from tracker.models import Operation, Repository

# The names of fixtures and of what tests ask for are the same by design.
# ruff: noqa: F811

SPLIT = {
    "outcome": "split",
    "summary": "In parts.",
    "children": [{"key": "a", "title": "Part", "body": "Do it.", "blocked_by": [], "acceptance": []}],
}


def test_a_finished_root_is_a_pull_request_that_says_all_a_reviewer_needs(office: Office):
    agent = office.in_review(title="Say hi @all")
    pull, key = office.pull(), agent.issue.key
    assert (pull["head"]["ref"], pull["base"]["ref"], pull["title"]) == (agent.branch, "main", "Say hi @all")
    assert pull["head"]["sha"] == agent.head
    text = pull["body"].partition("-->\n")[2]
    assert text.startswith(f"Closes #{key}\n")
    assert "| `test -s hi.txt` | passed |" in text and agent.head[:12] in text
    assert not pull["draft"]
    issue = office.github.as_person("alice").issue(int(key))
    assert issue["state"] == "open" and [label["name"] for label in issue["labels"]] == ["agent:review"]
    status, notice = office.comments(key)
    assert "**Agent: review**" in status and f"#{pull['number']}" in status and "| run | mode |" in status
    assert notice == f"Pull request #{pull['number']} is ready for review: the acceptance commands pass.\n"
    assert invariants.violations() == []


def test_without_acceptance_it_stays_a_draft(office: Office):
    agent = office.in_review(acceptance=())
    assert office.pull()["draft"]
    assert "is a draft" in office.comments(agent.issue.key)[1]


def test_a_merge_ends_the_agent_and_closes_the_issue(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    office.github.as_person("alice").merge(number)
    office.hear(number)
    office.settle()
    assert state(agent) == "done"
    issue = office.github.as_person("alice").issue(int(agent.issue.key))
    assert (issue["state"], issue["labels"]) == ("closed", [])
    assert "**Agent: done**" in office.comments(agent.issue.key)[0]
    assert runs(agent) == 1


def test_closing_ends_it_without_its_work_and_a_retry_is_not_ended_by_the_old_one(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    office.github.as_person("alice").close_pull(number)
    office.hear(number)
    agent.refresh_from_db()
    assert agent.state == "abandoned" and f"#{number} was closed" in agent.blocked_reason
    control.retry(agent.pk, actor="alice")
    office.hear(number)
    assert state(agent) == "queued"
    office.settle()
    assert state(agent) == "review"
    assert len(office.github.as_person("alice").pulls()) == 2
    office.hear(number)
    assert state(agent) == "review"


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", "CODEOWNERS", "docs/CODEOWNERS", ".github/CODEOWNERS"])
def test_files_that_decide_what_runs_are_not_pushed_without_policy(office: Office, path: str):
    agent = office.take_on(command=f"mkdir -p $(dirname {path}); echo x > {path}; echo hi > hi.txt")
    control.nudge(agent.pk, actor="alice")
    office.settle()
    agent.refresh_from_db()
    assert agent.state == "blocked" and path in agent.blocked_reason
    assert office.github.as_person("alice").pulls() == []
    assert git(office.clone(), "branch", "-r", "--list", "origin/agent/*") == ""
    kept = Execution.objects.get(subject=agent.subject)
    assert f"refs/executions/{kept.pk}" in agent.blocked_reason


@pytest.mark.parametrize(
    "command",
    [
        "mkdir -p .github ci; ln -s ../ci .github/workflows",
        "mkdir .github; git clone -q . .github/workflows",
        "echo 'agent: {adapter: command}' > .agentgrid.yml",
    ],
    ids=["link", "submodule", "policy"],
)
def test_nothing_takes_the_place_of_files_that_decide_what_runs(office: Office, command: str):
    agent = office.take_on(command=f"{command}; echo hi > hi.txt; git add -A; git commit -qm Work")
    control.nudge(agent.pk, actor="alice")
    office.settle()
    agent.refresh_from_db()
    assert agent.state == "blocked" and "agents may not change" in agent.blocked_reason
    assert office.github.as_person("alice").pulls() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [("Fixes #999", "would close 999"), ("closes acme/other#3", "acme/other#3"), ("fixes #{own}", "")],
)
def test_a_commit_message_closes_no_issue_of_somebody_else(office: Office, words: str, says: str):
    own = office.take_on(command="true").issue.key
    command = f"echo hi > hi.txt; git add -A; git commit -qm 'Work\n\n{words.format(own=int(own) + 1)}'"
    agent = office.take_on(command=command)
    control.nudge(agent.pk, actor="alice")
    office.settle()
    agent.refresh_from_db()
    if says:
        assert agent.state == "blocked" and says in agent.blocked_reason
        assert runs(agent) == 2 and says in prompt(agent)  # it was told once, and did the same again
        assert office.github.as_person("alice").pulls() == []
    else:
        assert agent.state == "review"


def test_an_agent_that_is_told_of_closing_words_takes_its_work_over_without_them(office: Office):
    told = office.folder / "told"
    first = f"echo hi > hi.txt; git add -A; git commit -qm 'Work. Fixes #999'; git rev-parse HEAD > {told}"
    then = f"git merge -q --squash $(cat {told}); git commit -qm 'Work, see 999'"
    agent = office.in_review(command=f"if [ -e {told} ]; then {then}; else {first}; fi")
    assert runs(agent) == 2
    assert f"git merge --squash {told.read_text().strip()}" in prompt(agent) and "would close 999" in prompt(agent)
    messages = git(office.clone(), "log", "--format=%B", f"origin/main..origin/{agent.branch}")
    assert "see 999" in messages and "Fixes" not in messages
    assert git(office.clone(), "show", f"origin/{agent.branch}:hi.txt") == "hi"


def test_work_left_by_a_split_is_looked_at_before_its_parts_build_on_it(office: Office):
    told, report = office.folder / "told", json.dumps(SPLIT)
    first = f"touch {told}; git add -A; git commit -qm 'Fixes #999'; mkdir -p .agentgrid"
    first += f"; echo '{report}' > .agentgrid/outcome.json"
    agent = office.in_review(command=f"echo hi > hi.txt; if [ ! -e {told} ]; then {first}; fi")
    assert runs(agent) == 2 and Agent.objects.count() == 1
    messages = git(office.clone(), "log", "--format=%B", f"origin/main..origin/{agent.branch}")
    assert "999" not in messages


def test_what_was_refused_is_on_no_branch_so_that_another_attempt_can_do_without(office: Office):
    once = office.folder / "once"
    bad = f"touch {once}; mkdir -p .github/workflows; echo x > .github/workflows/ci.yml"
    agent = office.take_on(command=f"echo hi > hi.txt; if [ ! -e {once} ]; then {bad}; fi")
    control.nudge(agent.pk, actor="alice")
    office.settle()
    assert state(agent) == "blocked"
    control.retry(agent.pk, actor="alice")
    office.settle()
    assert state(agent) == "review"
    files = git(office.clone(), "ls-tree", "-r", "--name-only", f"origin/{agent.branch}")
    assert "hi.txt" in files and ".github" not in files


def test_a_change_of_protected_files_is_pushed_where_the_policy_allows_it(office: Office):
    policy = 'allow_protected_paths: [".github/workflows/*"]\n'
    path = office.clone()
    (path / ".agentgrid.yml").write_text(policy)
    git(path, "add", "-A")
    git(path, "commit", "-qm", "Policy")
    git(path, "push", "-q", "origin", "HEAD:main")
    repositories.refresh(office.github.repository.id)
    agent = office.in_review(command="mkdir -p .github/workflows; echo x > .github/workflows/ci.yml; echo hi > hi.txt")
    assert office.pull()["head"]["sha"] == agent.head


def test_a_pull_request_that_cannot_be_opened_asks_a_person(office: Office):
    agent = office.take_on()
    Repository.objects.update(default_branch="gone")
    control.nudge(agent.pk, actor="alice")
    office.settle()
    agent.refresh_from_db()
    assert agent.state == "blocked" and "could not be opened" in agent.blocked_reason


def test_while_github_is_away_the_work_waits_and_nobody_is_asked(office: Office):
    agent = office.take_on()
    fault = Fault(path=r"\.git/info/refs", kind="502", times=2)
    office.github.server.world.faults.append(fault)
    control.nudge(agent.pk, actor="alice")
    for _ in range(2):
        before = fault.fired
        office.grid.until(lambda: fault.fired > before)  # noqa: B023 - called at once
        assert state(agent) in ("queued", "running"), "queued when the run was over before its start was taken up"
        Agent.objects.filter(pk=agent.pk).update(updated_at=timezone.now() - timedelta(minutes=1))
    office.settle()
    assert (state(agent), runs(agent)) == ("review", 1)


def test_a_split_is_announced_and_the_parents_comment_follows_its_parts(office: Office):
    children = [{"key": k, "title": f"Part {k}", "body": "Do it.", "blocked_by": []} for k in "ab"]
    split = json.dumps({"outcome": "split", "summary": "Two parts.", "children": children})
    done = json.dumps({"outcome": "done", "summary": "All there."})
    command = (
        "line=$(head -1); mkdir -p .agentgrid; case $line in "
        f"*resume:*) echo '{done}' > .agentgrid/outcome.json;; "
        "*Part*) echo x > $(basename $(git branch --show-current)).txt;; "
        f"*) echo '{split}' > .agentgrid/outcome.json;; esac"
    )
    agent = office.take_on(command=command, acceptance=())
    control.nudge(agent.pk, actor="alice")
    office.grid.until(lambda: state(agent) == "review")
    office.settle()
    key = agent.issue.key
    parts = office.github.as_person("alice").sub_issues(int(key))
    status, plan, proposed = office.comments(key)
    assert "split this issue into 2 sub-issues" in plan and f"| #{parts[0]} `Part a` |" in plan
    assert f"| #{parts[0]} `Part a` | done |" in status and f"| #{parts[1]} `Part b` | done |" in status
    assert "Used so far: 4 runs" in status and "is a draft" in proposed
    # Parts are no pull requests of their own.
    assert office.pull()["head"]["ref"] == agent.branch
    office.github.as_person("alice").mark_ready(office.pull()["number"])
    office.github.as_person("alice").merge(office.pull()["number"])
    office.hear(office.pull()["number"])
    assert {row.state for row in Agent.objects.all()} == {"done"}


def test_while_it_moves_the_status_comment_is_edited_once_a_minute_at_most(office: Office):
    agent = office.take_on()
    for _ in range(2):
        with transaction.atomic():
            tree.write(agent, *reports.show(agent))
        office.grid.until(lambda: not Operation.objects.filter(state="pending", rests_until=None).exists())
    waits = Operation.objects.get(state="pending", kind="upsert_comment")
    assert 50 < (waits.rests_until - timezone.now()).total_seconds() <= 60
    with transaction.atomic():
        tree.write(agent, *reports.show(agent))
    later = Operation.objects.get(state="pending", kind="upsert_comment")
    assert later.pk != waits.pk and later.rests_until == waits.rests_until
    assert len(office.comments(agent.issue.key)) == 1


def test_closing_ends_a_run_under_way_and_all_parts(office: Office):
    agent = office.in_review(command="cat > /dev/null; if [ -e hi.txt ]; then sleep 60; fi; echo hi >> hi.txt")
    number = office.pull()["number"]
    office.github.as_person("alice").comment(number, "Go on")
    office.hear(number)
    office.grid.until(lambda: state(agent) == "running")
    office.github.as_person("alice").close_pull(number)
    office.hear(number)
    assert state(agent) == "abandoned"
    office.grid.until(lambda: not Execution.objects.filter(state__in=["running", "stopping", "queued"]).exists())
    office.settle()
    assert state(agent) == "abandoned" and invariants.violations() == []


def test_as_a_github_app_it_works_alike(settings, grid_here, tmp_path: Path, transactional_db: None):
    with account(settings, APP, git_root=tmp_path / "github") as server:
        here = GithubHere(server=server, repository=public_sync.add_repository(REPOSITORY))
        assert repositories.refresh(here.repository.id).error == ""
        office = Office(github=here, grid=grid_here, folder=tmp_path)
        agent = office.in_review(command="cat > /dev/null; echo hi >> hi.txt")
        pull = office.pull()
        assert (pull["user"]["login"], pull["draft"]) == ("agent-grid[bot]", False)
        here.as_person("alice").comment(pull["number"], "Again")
        office.hear(pull["number"])
        office.settle()
        assert (state(agent), runs(agent)) == ("review", 2)
        here.as_person("alice").merge(pull["number"])
        office.hear(pull["number"])
        assert state(agent) == "done"
