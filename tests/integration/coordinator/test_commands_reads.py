"""What `status`, `tree`, `explain`, `tail` and `budget show` say about rows made by the domain."""

from __future__ import annotations

import json
import unicodedata
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from coordinator import public_api
from coordinator.management import follow
from coordinator.management.follow import Follower
from coordinator.public_types import AgentState, AgentView, ScopeKind
from grid.models import Execution, Host
from grid.public_types import Check, Result, State
from tests.integration.coordinator.command_rows import HOST, HOSTILE, care, ended, run, say, split, started, submitted
from tests.integration.grid.git_samples import commit_all
from tracker import public_api as tracker
from tracker.models import Issue
from tracker.public_types import IssueDraft

pytestmark = pytest.mark.django_db(transaction=True)


def fail_for_good(agent: AgentView) -> AgentView:
    check = Check(command="pytest -q", passed=False, exit_code=1, seconds=2.0, tail="line 1\nE   assert 1 == 2\n")
    for _ in range(3):
        agent = public_api.get_agent(agent.id)
        started(agent)
        agent = ended(agent, result=Result(reason="acceptance failed: pytest -q (exit 1)", checks=(check,)))
        if agent.state != AgentState.FAILED:
            public_api.nudge(agent.id, actor="cli:test")
    return agent


def test_an_empty_grid_names_the_next_step() -> None:
    said = run("status")
    assert said.code == 0
    assert "manage.py submit --repo" in said.out
    assert "manage.py up" in said.out


def test_status_shows_what_needs_me_before_what_runs(tmp_path: Path) -> None:
    repository = care(tmp_path)
    failed = fail_for_good(submitted(repository, "Broken"))
    assert failed.state == AgentState.FAILED
    busy = submitted(repository, "Busy")
    started(busy, lines=("compiling", "testing module 7"))
    held = submitted(repository, "Kept back")
    public_api.pause(public_api.scope_of(ScopeKind.AGENT, held), actor="cli:test")
    said = run("status")
    assert said.out.index("Needs you") < said.out.index("Broken") < said.out.index("Runs") < said.out.index("Busy")
    assert "acceptance failed: pytest -q (exit 1)" in said.out
    assert "testing module 7" in said.out
    assert "running agent" in said.out
    assert f"paused: {held.issue}" in said.out
    assert HOST in said.out
    assert "1 of 9 slots" in said.out
    document = run("status", "--json").json
    assert [agent["id"] for agent in document["attention"]] == [failed.id]
    assert {row["agent"]["id"] for row in document["running"]} == {busy.id, held.id}
    assert document["hosts"][0]["running"] == 1
    assert {envelope["kind"] for envelope in document["envelopes"]} == {"fleet", "repository", "tree", "agent"}


def test_status_says_when_all_hosts_are_silent(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    started(agent)
    assert "no host takes work" not in run("status").out
    Host.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    said = run("status")
    assert "silent, 5m" in said.out
    assert "no host takes work" in said.out


def test_status_shows_a_broken_policy(tmp_path: Path) -> None:
    repository = care(tmp_path)
    submitted(repository)
    (tmp_path / "app" / ".agentgrid.yml").write_text("limts: {}\n")
    commit_all(tmp_path / "app")
    public_api.refresh_repository(repository.id)
    said = run("status")
    assert "policy or fetch" in said.out
    assert "limits" in said.out
    assert run("status", "--json").json["policy_errors"][0]["repository"] == repository.scope


def test_tree_shows_each_agent_below_its_parent(tmp_path: Path) -> None:
    root, one, two = split(submitted(care(tmp_path), "The whole"))
    said = run("tree", "1", "--timeline")
    lines = said.out.splitlines()
    assert lines[0].startswith("1  local/app#1  The whole  waiting")
    assert any(line.startswith("|-- 1.1") and "Part one" in line and "queued" in line for line in lines)
    assert any(line.startswith("`-- 1.2") and "Part two" in line for line in lines)
    assert "blocked by local/app#2" in said.out
    assert f"branch {one.branch}" in said.out
    timeline = said.out.partition("Timeline")[2]
    assert timeline.index("taken on: local/app#1") < timeline.index("split into 2") < timeline.index("local/app#3")
    assert said.out.isascii()
    document = run("tree", "1", "--json", "--timeline").json
    assert [agent["id"] for agent in document["agents"]] == [root.id, one.id, two.id]
    assert document["standing"] == "under way"
    assert document["timeline"][0]["kind"] == "agent.created"


def test_tree_of_a_sub_issue_is_that_branch_only(tmp_path: Path) -> None:
    split(submitted(care(tmp_path), "The whole"))
    said = run("tree", "1.2", "--timeline")
    assert said.out.startswith("1.2  local/app#3  Part two")
    assert "Part one" not in said.out
    assert "split into 2" not in said.out


def test_explain_tells_the_gate_the_evidence_and_where_limits_come_from(tmp_path: Path) -> None:
    repository = care(tmp_path)
    agent = fail_for_good(submitted(repository, "Broken"))
    public_api.raise_limit(public_api.scope_of(ScopeKind.TREE, agent), actor="cli:test", executions=500)
    said = run("explain", "1")
    assert "failed with exit 1" in said.out
    assert "| E   assert 1 == 2" in said.out
    assert "a nudge now" in said.out
    assert "admitted" in said.out
    assert "3 of 500" in said.out
    assert "raised by hand" in said.out
    assert "attempts 3 (fleet)" in said.out
    document = run("explain", "1", "--json").json
    assert document["now"]["answer"] == "admitted"
    assert document["executions"][0]["result"]["checks"][0]["tail"] == "line 1\nE   assert 1 == 2\n"
    assert [envelope["kind"] for envelope in document["envelopes"]] == ["fleet", "repository", "tree", "agent"]


def test_explain_says_what_blocks(tmp_path: Path) -> None:
    split(submitted(care(tmp_path)))
    said = run("explain", "1.2")
    assert "deferred: blocked by local/app#2" in said.out
    assert run("explain", "3", "--json").json["blockers"] == ["local/app#2"]
    parent = run("explain", "1")
    assert "Sub-issues" in parent.out
    assert "Part one" in parent.out


def test_explain_prompt_is_exact(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path), "Read me", body="Take care of\n\n    indented code\n")
    said = run("explain", "1", "--prompt")
    exact = Execution.objects.get(subject=f"issue:{agent.issue_id}").prompt
    assert said.out == "(template: work)\n" + exact.rstrip("\n") + "\n"
    assert run("explain", "1", "--prompt", "--json").json["prompt"] == exact


def test_tail_tells_events_in_words_with_output(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    row = started(agent, lines=("    indented", "second"))
    said = run("tail", "1")
    assert "taken on: local/app#1" in said.out
    assert "|     indented" in said.out
    assert run("tail", "1", "-n", "1").out.count("\n") == 1
    assert "taken on" not in run("tail", str(row.pk)[:8]).out
    everywhere = run("tail", "--json", "-n", "1000").records
    of_agents = [record for record in everywhere if not record["stream"].startswith(("scope:", "operator:"))]
    assert {record["issue"] for record in of_agents} == {agent.issue}
    assert [r["body"]["text"] for r in everywhere if r["kind"] == "agent.output"] == ["    indented", "second"]


def test_tail_of_a_branch_counts_its_own_events(tmp_path: Path) -> None:
    split(submitted(care(tmp_path)))
    records = run("tail", "1.1", "-n", "2", "--json").records
    assert [record["path"] for record in records] == ["1.1", "1.1"]


def test_a_follower_gives_each_event_once(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    row = started(agent, lines=("one", "two"))
    root = follow.root_key(agent)
    for scope in ({}, {"root": root}, {"root": root, "path": "1"}, {"stream": row.stream}):
        follower = Follower(backlog=2, **scope)
        assert len(follower.poll()) == 2
        assert follower.poll() == []
        say(row, "three", "four")
        assert [seen.event.body["text"] for seen in follower.poll()] == ["three", "four"]
        assert follower.poll() == []
    fresh = Follower(stream=row.stream)
    assert fresh.poll() == []
    assert not Follower(root=root, path="1.1", backlog=5).poll()


def test_tail_follows_until_the_issue_has_ended(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    public_api.cancel(agent.id, actor="cli:test")
    said = run("tail", "1", "-f")
    assert said.code == 0
    assert "abandoned: cancelled by cli:test" in said.out


def test_budget_show_names_the_scopes(tmp_path: Path) -> None:
    repository = care(tmp_path)
    tracker.create_issue(
        repository_id=repository.id, draft=IssueDraft(title="Nobody's")
    )  # ids of issues and agents differ
    held = submitted(repository)
    run("pause", "2")
    said = run("budget", "show")
    assert f"tree of {held.issue}  " in said.out
    assert f"\n{held.issue}  " in said.out
    assert "the fleet" in said.out
    assert "\nlocal/app  " in said.out
    assert "1 reserved of 100" in said.out
    assert run("budget", "show", "--tree", "2", "--json").json["envelopes"][0]["kind"] == "tree"


def test_an_unknown_issue_is_bad_input(tmp_path: Path) -> None:
    for command in ("tree", "explain", "tail", "nudge", "retry", "cancel", "pause"):
        said = run(command, "99")
        assert said.code == 2, command
        assert "status" in said.error


def test_two_repositories_with_one_number_are_told_apart(tmp_path: Path) -> None:
    first, second = care(tmp_path, "app"), care(tmp_path, "other")
    submitted(first)
    wanted = submitted(second, "Elsewhere")
    said = run("tree", "1")
    assert said.code == 2
    assert "local/app#1, local/other#1" in said.error or "local/other#1, local/app#1" in said.error
    assert run("tree", "other#1", "--json").json["agents"][0]["id"] == wanted.id


def test_nothing_hostile_reaches_the_terminal(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    row = started(agent, lines=(HOSTILE + "output",))
    Issue.objects.update(title=HOSTILE + "title")
    ended(agent, state=State.FAILED, result=Result(reason=HOSTILE + "reason"))
    commands = [
        ("status",),
        ("tree", "1", "--timeline"),
        ("explain", "1"),
        ("explain", "1", "--prompt"),
        ("tail", "1"),
        ("tail", str(row.pk)),
        ("nudge", "1", "--reason", HOSTILE),
        ("budget", "show"),
        ("cancel", "1", "--yes"),
        ("status",),
    ]
    shown = ""
    for command in commands:
        for form in ((), ("--json",)):
            said = run(*command, *form)
            shown += said.out
            bad = {hex(ord(c)) for c in said.out if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}
            assert not bad, (command, form, bad)
            if form:
                texts = json.dumps([json.loads(line) for line in _documents(said.out)], ensure_ascii=False)
                assert not {c for c in texts if unicodedata.category(c) in ("Cc", "Cf", "Cs")}
    for word in ("red2Jtitle", "red2Joutput", "red2Jreason"):
        assert word in shown


def _documents(text: str) -> list[str]:
    """One document, or one on each line."""
    try:
        json.loads(text)
    except ValueError:
        return text.splitlines()
    return [text]
