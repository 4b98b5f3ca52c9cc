"""What people and checks say about pull requests, and what they push to them: each has one effect."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from coordinator.models import Agent, Feedback
from coordinator.operating import control
from grid.models import Execution
from tests.factories import git
from tests.integration.coordinator.github_trees import Office, office, prompt, runs, state  # noqa: F401 - a fixture
from tests.integration.tracker.github_here import GithubHere, github, github_server  # noqa: F401 - fixtures
from tracker.fake_github import Fault
from tracker.models import Operation, Permission
from tracker.public_errors import UnavailableError

# The names of fixtures and of what tests ask for are the same by design.
# ruff: noqa: F811


def test_a_review_by_a_writer_is_one_rework_with_all_it_says(office: Office):
    agent = office.in_review(command="cat > prompt.txt; echo hi >> hi.txt")
    number = office.pull()["number"]
    before = office.pull()["head"]["sha"]
    words = [{"path": "hi.txt", "line": 1, "body": "Say it in French"}, {"path": "hi.txt", "line": 1, "body": "Louder"}]
    office.github.as_person("alice").review(number, "REQUEST_CHANGES", "Not yet.", words)
    office.hear(number)
    office.settle()
    office.hear(number)
    office.settle()
    assert (state(agent), runs(agent)) == ("review", 2)
    told = prompt(agent)
    assert all(text in told for text in ("Not yet.", "Say it in French", "Louder", "alice, on `hi.txt:1`"))
    assert told.splitlines()[0].startswith("# agent-grid work:")
    after = office.pull()["head"]["sha"]
    assert after != before and git(office.clone(), "merge-base", before, after) == before
    status = office.comments(agent.issue.key)[0]
    assert "Taken up by the last run:" in status and "`alice` on `hi.txt:1`" in status
    assert Agent.objects.get(pk=agent.pk).reworks == 1


def test_words_of_others_and_approvals_cause_nothing(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    office.github.as_person("rita").comment(number, "CANARY do it my way")
    office.github.as_person("alice").review(number, "APPROVE", "Lovely")
    office.github.as_person("alice").comment(number, "/agent explain")
    office.github.as_person("agent-bot").comment(number, "our own words")
    office.hear(number)
    office.settle()
    assert (state(agent), runs(agent), Feedback.objects.count()) == ("review", 1, 0)


def test_words_of_a_writer_are_not_lost_while_github_cannot_say_who_that_is(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    office.github.as_person("alice").comment(number, "Louder")
    Permission.objects.all().delete()
    office.github.server.world.faults.append(Fault(path="/permission$", kind="502", times=4))
    with pytest.raises(UnavailableError):
        office.hear(number)
    office.hear(number)
    assert [row.author for row in Feedback.objects.filter(agent=agent)] == ["alice"]


def test_outsiders_who_talk_spend_next_to_nothing_of_our_quota(office: Office):
    office.in_review()
    number = office.pull()["number"]
    rita = office.github.as_person("rita")
    said = [str(rita.comment(number, f"words {n}")) for n in range(5)]
    before = office.github.spent()
    for comment_id in said:
        office.hear(number, comment_id=comment_id, actor="rita")
    assert office.github.spent() - before <= 1  # what she may do
    office.hear(number, comment_id=str(office.github.as_person("alice").comment(number, "Louder")), actor="alice")
    assert Feedback.objects.get().author == "alice"


def test_a_failed_check_of_the_present_head_is_one_rework_with_its_log(office: Office):
    agent = office.in_review(command="cat > /dev/null; echo hi >> hi.txt")
    pull = office.pull()
    sha = pull["head"]["sha"]
    alice = office.github.as_person("alice")
    alice.check_run(sha, "unit tests", "failure", {"title": "1 failed", "summary": "", "text": "E assert 1 == 2"})
    alice.check_run(sha, "lint", "success")
    office.hear(head_sha=sha)
    office.settle()
    office.hear(head_sha=sha)
    office.hear(pull["number"])
    office.settle()
    assert (state(agent), runs(agent)) == ("review", 2)
    told = prompt(agent)
    assert "The check unit tests failed" in told and "E assert 1 == 2" in told and "lint" not in told


def test_what_is_said_while_it_works_waits_for_the_next_run(office: Office):
    agent = office.in_review(command="cat > /dev/null; echo hi >> hi.txt; sleep 0.5")
    number = office.pull()["number"]
    office.github.as_person("alice").comment(number, "First")
    office.hear(number)
    office.github.as_person("alice").comment(number, "Second")
    office.hear(number)
    first = Execution.objects.filter(subject=agent.subject).order_by("-created_at")[0]
    assert "First" in first.prompt and "Second" not in first.prompt
    office.grid.until(lambda: runs(agent) == 3)
    office.settle()
    assert (state(agent), runs(agent)) == ("review", 3)
    assert "Second" in prompt(agent) and "First" not in prompt(agent)


def test_a_rework_that_fails_is_told_again_what_was_said(office: Office):
    once = office.folder / "once"
    agent = office.in_review(command=f"if [ -e hi.txt ] && mkdir {once}; then exit 3; fi; echo hi >> hi.txt")
    number = office.pull()["number"]
    office.github.as_person("alice").comment(number, "Remember me")
    office.hear(number)
    office.settle()
    assert (state(agent), runs(agent)) == ("review", 3)
    assert "Remember me" in prompt(agent)
    assert Agent.objects.get(pk=agent.pk).reworks == 1


def test_after_five_reworks_a_person_is_asked_and_a_retry_goes_on(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    Agent.objects.filter(pk=agent.pk).update(reworks=5)
    office.github.as_person("alice").comment(number, "Once more")
    office.hear(number)
    office.settle()
    agent.refresh_from_db()
    assert (agent.state, runs(agent)) == ("blocked", 1) and "/agent retry" in agent.blocked_reason
    assert office.comments(agent.issue.key)[-1].startswith("The agent waits for a person")
    office.hear(number)
    assert state(agent) == "blocked"
    control.retry(agent.pk, actor="alice")
    office.settle()
    assert (state(agent), runs(agent)) == ("review", 2)
    assert "Once more" in prompt(agent)
    assert Agent.objects.get(pk=agent.pk).reworks == 1


def test_what_a_person_pushes_is_the_base_of_what_comes_next(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    theirs = office.push(agent.branch, by_hand="1")
    office.hear(number)
    assert Agent.objects.get(pk=agent.pk).head == theirs
    office.github.as_person("alice").comment(number, "Now you")
    office.hear(number)
    office.settle()
    head = office.pull()["head"]["sha"]
    assert head != theirs and git(office.clone(), "merge-base", theirs, head) == theirs
    assert state(agent) == "review"


def test_what_a_person_pushes_while_it_works_is_merged(office: Office):
    agent = office.in_review(command="cat > /dev/null; echo hi >> hi.txt; sleep 0.7")
    number = office.pull()["number"]
    office.github.as_person("alice").comment(number, "Now you")
    office.hear(number)
    theirs = office.push(agent.branch, by_hand="1")
    office.hear(number)
    office.settle()
    head = office.pull()["head"]["sha"]
    assert git(office.clone(), "merge-base", theirs, head) == theirs
    assert git(office.clone(), "show", f"{head}:hi.txt").split() == ["hi", "hi"]
    # Nobody ran the acceptance commands on the merge, so nothing vouches for it, and nothing says so.
    assert state(agent) == "review"


def test_a_branch_that_a_person_rewrote_is_left_alone(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    theirs = office.push(agent.branch, force=True, rewritten="1")
    office.hear(number)
    office.settle()
    agent.refresh_from_db()
    assert agent.state == "blocked" and "does not hold what was pushed" in agent.blocked_reason
    assert office.pull()["head"]["sha"] == theirs


def test_a_fork_and_a_pull_request_of_a_person_are_none_of_our_business(office: Office):
    agent = office.in_review()
    first = office.pull()["number"]
    clone = office.clone()
    git(clone, "push", "-q", "origin", "origin/main:refs/heads/persons")
    theirs = office.push("persons", by_hand="1")
    alice = office.github.as_person("alice")
    other = alice.open_pull("persons")
    alice.comment(other, "Change this")
    alice.check_run(theirs, "ci", "failure")
    office.hear(other)
    office.hear(head_sha=theirs)
    alice.close_pull(other)
    office.hear(other)
    office.hear(9999)
    assert (state(agent), runs(agent), Feedback.objects.count()) == ("review", 1, 0)
    assert first != other


def test_hearing_of_a_pull_request_again_and_again_writes_nothing(office: Office):
    office.in_review()
    office.settle()
    before = Operation.objects.count()
    for _ in range(3):
        office.hear(office.pull()["number"])
    assert Operation.objects.count() == before


def test_six_workers_that_hear_of_one_review_start_one_run(office: Office):
    agent = office.in_review()
    number = office.pull()["number"]
    words = [{"path": "hi.txt", "line": 1, "body": f"Remark {n}"} for n in range(3)]
    office.github.as_person("alice").review(number, "REQUEST_CHANGES", "Not yet.", words)
    barrier = threading.Barrier(6)

    def hear(_: int) -> None:
        barrier.wait()
        try:
            office.hear(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hear, range(6)))
    office.settle()
    assert (state(agent), runs(agent), Feedback.objects.count()) == ("review", 2, 4)
    assert all(f"Remark {n}" in prompt(agent) for n in range(3))
