"""People on GitHub learn why nothing happens, and what they can do: by webhooks in, by comments out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from coordinator import sweeps
from coordinator.admin import agent_tables
from coordinator.care import repositories
from coordinator.ending import outbox
from coordinator.models import Agent, AuditEntry, Envelope, Nudge, RepositoryPolicy
from coordinator.reading import overview
from coordinator.trees import reports
from grid import public_agents as grid_agents
from grid.public_types import State
from tests.integration.coordinator.command_rows import run
from tests.integration.coordinator.github_trees import Office, office, prompt, runs, state
from tests.integration.coordinator.post_here import Post, post
from tests.integration.coordinator.steering_here import Here, here
from tests.integration.tracker.fake_github_world import Clone
from tests.integration.tracker.github_here import github, github_server
from tracker.models import Operation

__all__ = ["github", "github_server", "here", "office", "post"]

pytestmark = pytest.mark.django_db(transaction=True)
SECRET_OF_OURS = "/srv/grid/secret-path"
LONG_AGO = timedelta(minutes=1)


def policy(here: Here, folder: Path, text: str) -> None:
    """The default branch has this policy file now."""
    Clone(here.github.server, folder / "theirs").commit("main", ".agentgrid.yml", text)
    repositories.refresh(here.github.repository.id)


def pass_by(repository_id: int) -> None:
    """A while later the sweep comes by, and everything that is to be written is."""
    Nudge.objects.filter(is_open=True).update(created_at=timezone.now() - LONG_AGO)
    sweeps.sweep()
    Operation.objects.filter(state="pending").update(rests_until=None)
    outbox.drain(repository_id)


# --- no run can start ------------------------------------------------------------------------------------------------


def test_a_fault_in_the_repositorys_own_file_is_told_where_its_people_are(
    here: Here, post: Post, tmp_path: Path
) -> None:
    policy(here, tmp_path, "agent: {adapter: builtin}\n")
    number = here.issue(label=True)
    post.bring()
    sweeps.sweep()
    here.drain()
    assert here.ours(number) == []  # it may pass by itself yet
    for _ in range(2):
        pass_by(here.github.repository.id)
    agent = here.agent(number)
    assert agent is not None and agent.decision["code"] == "agent", agent.decision
    (said,) = here.ours(number)
    assert "**Needs you:** No run can start" in said and "model" in said and ".agentgrid.yml" in said
    found = overview.read()
    assert [view.id for view in found.attention] == [agent.pk]
    assert found.waiting == ()
    here.by("alice").comment(number, "/agent explain")
    post.bring()
    here.drain()
    assert "model" in here.ours(number)[-1] and "an operator can see why" not in here.ours(number)[-1]


def test_faults_of_the_operators_machines_are_told_without_what_they_are(here: Here, post: Post) -> None:
    repositories.refresh(here.github.repository.id)
    RepositoryPolicy.objects.update(error=f"fatal: {SECRET_OF_OURS}: no space left", head="")
    number = here.issue(label=True)
    here.by("alice").comment(number, "/agent run")
    here.by("alice").comment(number, "/agent explain")
    post.bring()
    pass_by(here.github.repository.id)
    texts = here.ours(number)
    assert sum("cannot be fetched" in text for text in texts) == 3, texts  # status, and both answers
    assert not any(SECRET_OF_OURS in text for text in texts)


def test_a_broken_policy_file_is_told_on_the_issue_and_by_the_doctor(here: Here, post: Post, tmp_path: Path) -> None:
    repositories.refresh(here.github.repository.id)
    policy(here, tmp_path, "agent: {adapter: command, options: {command: 'true'}}\nlimits: {attempts: many}\n")
    number = here.issue(label=True)
    post.bring()
    here.claim(number)
    pass_by(here.github.repository.id)
    (status,) = here.ours(number)
    assert "policy file has mistakes" in status and "line 2" in status
    warned = [row for row in run("doctor", "--json").json["warnings"] if "line 2" in row["detail"]]
    assert [row["check"] for row in warned] == ["acme/widgets: policy file or fetch"]
    RepositoryPolicy.objects.update(error=f"fatal: {SECRET_OF_OURS}")
    agent = here.agent(number)
    assert agent is not None
    assert SECRET_OF_OURS not in str(reports.show(agent)[0].payload)


# --- money -----------------------------------------------------------------------------------------------------------


def spend_all(agent: Agent) -> None:
    """The tree's money is used up to the cent."""
    rows = Envelope.objects.filter(kind="tree")
    assert rows.update(usd_spent_micros=rows.get().usd_limit_micros) == 1


def test_a_reviewer_learns_that_the_money_is_used_up_and_raises_it_from_the_pull_request(
    office: Office, post: Post
) -> None:
    agent = office.in_review()
    post.sent = len(office.github.server.world.deliveries)
    spend_all(agent)
    number, alice = office.pull()["number"], office.github.as_person("alice")
    alice.comment(number, "Say it louder")
    post.bring()
    for _ in range(2):
        pass_by(agent.repository_id)
    told = [text for text in office.comments(agent.issue.key) if "/agent budget $40" in text]
    assert [text.startswith("**Agent: review**") for text in told] == [True, False], told
    alice.comment(number, "/agent retry")
    post.bring()
    office.settle()
    assert "The budget of its tree is used up" in office.comments(number)[-1]
    assert (state(agent), runs(agent)) == ("review", 1)
    alice.comment(number, "/agent budget $30")
    post.bring()
    office.grid.until(lambda: runs(agent) == 2)
    office.settle()
    assert Envelope.objects.get(kind="tree").usd_limit_micros == 30_000_000
    assert "may use $30 now" in "".join(office.comments(number))
    assert (state(agent), runs(agent)) == ("review", 2)
    assert "Say it louder" in prompt(agent)


def test_who_is_asked_after_a_run_was_stopped_for_its_money_learns_how_to_raise_it(here: Here, post: Post) -> None:
    number = here.issue(label=True)
    post.bring()
    run_of_it, agent = here.claim(number), here.agent(number)
    assert agent is not None
    refused = ("llm.refused", {"code": "budget_exceeded", "reason": "no money", "scope": agent.root_key})
    assert grid_agents.record_call(run_of_it.pk, fence=run_of_it.token, events=[refused])
    Envelope.objects.filter(kind="tree").update(usd_spent_micros=19_600_000)
    assert here.end(run_of_it, State.OVER_BUDGET)
    pass_by(here.github.repository.id)
    notice = here.ours(number)[-1]
    assert "has spent $19.60 of $20.00" in notice and "`/agent budget $40` on a line of its own" in notice
    here.by("alice").comment(number, "/agent budget $40\n/agent retry")
    post.bring()
    assert here.state(number) == "queued"
    assert Envelope.objects.get(kind="tree").usd_limit_micros == 40_000_000


def test_a_budget_is_raised_by_a_comment_as_far_as_the_operator_lets_people(here: Here, post: Post) -> None:
    number = here.issue(label=True)
    post.bring()
    for words in ("50", "120", "201", "$19", "$35", "$41", "$0"):
        here.by("alice").comment(number, f"/agent budget {words}")
        post.bring()
    here.drain()
    answers = [text.partition("-->\n")[2].strip() for text in here.ours(number)]
    assert [text for text in answers if "Agent:" not in text] == [
        "Not done: the tree may use 100 runs already.",
        "The whole tree may use 120 runs now.",
        "Not done: here a tree may be raised to 200 runs at most; an operator can go further.",
        "Not done: the tree may use $20.00 already.",
        "The whole tree may use $35 now.",
        "Not done: here a tree may be raised to $40 at most; an operator can go further.",
        "`/agent budget` needs the number of runs, `/agent budget 50`, or whole dollars, `/agent budget $30`: "
        "as many as the whole tree may use in all.",
    ]
    tree = Envelope.objects.get(kind="tree")
    assert (tree.executions_limit, tree.usd_limit_micros) == (120, 35_000_000)


def test_status_explain_and_the_page_say_what_it_cost(here: Here, post: Post) -> None:
    number = here.issue(label=True)
    post.bring()
    run_of_it, agent = here.claim(number), here.agent(number)
    assert agent is not None
    usage = {"cost_usd": 1.25, "usage": {"input_tokens": 900, "output_tokens": 100}, "final": True}
    assert grid_agents.record_call(run_of_it.pk, fence=run_of_it.token, events=[("llm.result", usage)])
    here.end(run_of_it)
    Envelope.objects.filter(kind="tree").update(usd_spent_micros=2_250_000)
    here.by("alice").comment(number, "/agent explain")
    post.bring()
    pass_by(here.github.repository.id)
    status, explained = here.ours(number)
    assert "seconds of running time, $1.25 by its own word." in status
    assert "cost of its own models so far: $1.25" in explained
    assert "tree: 1 of 100 runs and $2.25 of $20.00 used" in explained
    assert "fleet" not in explained
    assert "$2.25 of $20.00" in agent_tables.envelope_table(agent)


# --- on the pull request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["/agent retry\n\nPlease also say goodbye", "/agentic loops are not wanted: say goodbye"]
)
def test_words_beside_a_command_are_a_remark_and_both_cause_one_run(office: Office, post: Post, words: str) -> None:
    agent = office.in_review()
    post.sent = len(office.github.server.world.deliveries)
    office.github.as_person("alice").comment(office.pull()["number"], words)
    post.bring()
    office.settle()
    assert (state(agent), runs(agent)) == ("review", 2)
    assert "say goodbye" in prompt(agent)
    assert not Nudge.objects.filter(is_open=True).exists()


def test_commands_on_a_pull_request_are_carried_out_once_on_its_issue(office: Office, post: Post) -> None:
    agent = office.in_review()
    post.sent = len(office.github.server.world.deliveries)
    number, key = office.pull()["number"], int(agent.issue.key)
    alice, rita = office.github.as_person("alice"), office.github.as_person("rita")
    said = alice.comment(number, "/agent hold")
    rita.comment(number, "/agent cancel")
    post.bring()
    office.settle()
    assert "agent:hold" in alice.labels(key)
    assert [mark["content"] for mark in alice.api("GET", f"/issues/comments/{said}/reactions")] == ["eyes"]
    assert (state(agent), runs(agent)) == ("review", 1)
    assert AuditEntry.objects.get(action="refused").actor == "github:rita"
    alice.comment(number, "/agent unhold\n/agent fly")
    alice.review(number, "COMMENTED", "/agent cancel")
    post.bring()
    office.settle()
    assert "agent:hold" not in alice.labels(key)
    assert state(agent) == "abandoned"
    answers = office.comments(number)
    assert sum("There is no command `fly`" in text for text in answers) == 1
    assert sum("Done." in text or "Cancelled" in text for text in answers) == 1


def test_what_is_edited_into_a_remark_later_is_no_command(office: Office, post: Post, here: Here) -> None:
    agent = office.in_review()
    post.sent = len(office.github.server.world.deliveries)
    number, alice = office.pull()["number"], office.github.as_person("alice")
    said = alice.comment(number, "Lovely")
    here.next_second()
    alice.edit_comment(said, "/agent cancel")
    post.bring()
    office.hear(number, comment_id=str(said), actor="alice", text="/agent cancel")
    assert state(agent) == "review"
