"""What the acting commands do, and how they answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator import public_api
from coordinator.models import Agent, AuditEntry
from coordinator.public_types import AgentState, ScopeKind
from grid.models import Execution
from grid.public_types import State
from tests.integration.coordinator.command_rows import care, ended, run, split, started, submitted
from tests.integration.grid.git_samples import make_source
from tracker.models import Issue

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def source(tmp_path: Path) -> str:
    make_source(tmp_path / "app")
    return str(tmp_path / "app")


def test_submit_adds_the_repository_and_starts_an_agent(source: str, tmp_path: Path) -> None:
    (tmp_path / "issue.md").write_text("It *crashes*.\n")
    said = run(
        "submit", "--repo", source, "--title", "Fix it", "--body-file", str(tmp_path / "issue.md"),
        "--command", "touch x", "--accept", "test -f x", "--accept", "true", "--priority", "5",
    )  # fmt: skip
    assert said.code == 0
    assert "local/app#1  Fix it" in said.out
    assert "agent command, branch agent/1-fix-it" in said.out
    assert "admitted (work)" in said.out
    assert "manage.py up" in said.out  # nobody would run it
    agent = Agent.objects.get()
    assert agent.spec == {
        "adapter": "command",
        "options": {"command": "touch x"},
        "acceptance": ["test -f x", "true"],
    }
    assert agent.priority == 5
    assert Issue.objects.get().body == "It *crashes*.\n"
    assert AuditEntry.objects.get().actor.startswith("cli:")


def test_submit_warns_of_a_program_that_is_not_on_this_machine(source: str) -> None:
    args = ("submit", "--repo", source, "--agent", "command", "--option", 'argv=["no-such-program"]', "--title")
    said = run(*args, "One")
    assert said.code == 0 and "there is no program 'no-such-program' on this machine" in said.out
    assert "AGENTGRID_AGENT_PATH" in run(*args, "Two", "--json").json["warning"]
    assert run("submit", "--repo", source, "--title", "Three", "--command", "true", "--json").json["warning"] == ""


def test_submit_takes_a_profile_that_there_is(source: str) -> None:
    args = ("submit", "--repo", source, "--command", "true", "--profile")
    assert run(*args, "micro", "--title", "Small").code == 0
    assert Agent.objects.get().profile == "micro"
    assert "micro (by the agent)" in run("explain", "1").out
    said = run(*args, "mcro", "--title", "Wrong")
    assert said.code == 2
    assert "there is no profile 'mcro'; did you mean 'micro'?" in said.error
    assert Agent.objects.count() == 1


def test_the_same_submission_starts_nothing_twice(source: str) -> None:
    args = ("submit", "--repo", source, "--title", "Fix it", "--command", "touch x")
    run(*args)
    said = run(*args)
    assert said.code == 0
    assert "already known as local/app#1, nothing was started twice" in said.out
    assert Execution.objects.count() == 1
    document = run(*args, "--json").json
    assert document["is_new"] is False
    assert document["agent"]["issue"] == "local/app#1"


def test_a_second_submission_says_what_of_it_is_not_used(source: str) -> None:
    args = ("submit", "--repo", source, "--title", "Fix it")
    run(*args, "--command", "touch x", "--accept", "true")
    for same in (("--command", "touch x", "--accept", "true"), ("--command", "touch x"), ()):
        said = run(*args, *same)
        assert said.code == 0 and "not used" not in said.out
        assert run(*args, *same, "--json").json["not_used"] == []
    changed = ("--command", "touch y", "--accept", "false", "--priority", "3", "--profile", "micro")
    said = run(*args, *changed)
    assert "not used, as they differ from the first time: --command, --profile, --accept, --priority" in said.out
    assert "--key" in said.out
    document = run(*args, *changed, "--json").json
    assert document["not_used"] == ["option command", "profile", "acceptance", "priority"]
    other = run(*args, "--agent", "builtin", "--option", "model=ollama:qwen3:8b", "--json").json
    assert other["not_used"] == ["adapter", "option model"]
    assert Agent.objects.get().spec["options"] == {"command": "touch x"}


def test_a_key_tells_submissions_apart(source: str) -> None:
    args = ("submit", "--repo", source, "--title", "Fix it", "--command", "touch x", "--key")
    run(*args, "monday")
    run(*args, "tuesday")
    run(*args, "monday")
    assert Agent.objects.count() == 2


def test_submit_json_is_one_document(source: str) -> None:
    document = run("submit", "--repo", source, "--title", "Fix", "--command", "true", "--json").json
    assert document["is_new"] is True
    assert document["nudge"]["decision"]["answer"] == "admitted"
    assert document["repository"]["scope"] == "local/app"


def test_a_script_means_the_built_in_agent(source: str, tmp_path: Path) -> None:
    script = tmp_path / "steps.yaml"
    script.write_text("scenarios:\n  - steps:\n      - {call: finish, args: {outcome: done, summary: ok}}\n")
    assert run("submit", "--repo", source, "--title", "Fix", "--script", str(script)).code == 0
    agent = Agent.objects.get()
    assert agent.spec["adapter"] == "builtin"
    assert agent.spec["options"] == {"model": "scripted", "script": script.read_text()}


def test_options_are_json_or_text(source: str) -> None:
    said = run(
        "submit", "--repo", source, "--title", "Fix", "--agent", "builtin",
        "--option", "model=ollama:qwen3:8b", "--option", 'limits={"requests": 7}',
    )  # fmt: skip
    assert said.code == 0, said.error
    assert Agent.objects.get().spec["options"] == {"model": "ollama:qwen3:8b", "limits": {"requests": 7}}


@pytest.mark.parametrize(
    ("args", "fix"),
    [
        (("--repo", "/nowhere/at/all"), "give the path of a git repository"),
        (("--agent", "gandalf"), "use one of: acp, builtin, claude, codex, command, gemini, opencode"),
        (("--agent", "command", "--option", "comand=x"), "command"),
        (("--agent", "builtin", "--command", "x"), "leave one of them out"),
        (("--command", "x", "--script", "y"), "give one of them"),
        (("--option", "model=x"), "name it with --agent"),
        (("--agent", "builtin", "--option", "model"), "not KEY=VALUE"),
        (("--body-file", "/nowhere/issue.md"), "--body-file /nowhere/issue.md: No such file"),
        (("--title", "   "), "title"),
        (("--accept", "true") * 21, "at most 20"),
    ],
)
def test_bad_input_names_the_fix_and_leaves_nothing(source: str, args: tuple[str, ...], fix: str) -> None:
    said = run("submit", "--repo", source, "--title", "Fix", *args)
    assert said.code == 2
    assert fix in said.error
    assert not Issue.objects.exists()


def test_a_body_that_is_too_long_or_no_text_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * (600 << 10))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    args = ("submit", "--repo", source, "--title", "Fix", "--body-file")
    assert "KiB" in run(*args, str(tmp_path / "long")).error
    assert "UTF-8" in run(*args, str(tmp_path / "binary")).error


def test_a_nudge_is_answered_and_audited(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    said = run("nudge", "1", "--reason", "look again")
    assert said.code == 0
    assert "deferred: execution" in said.out
    entry = AuditEntry.objects.get(action="nudge")
    assert entry.target == f"agent:{agent.id}"
    assert entry.detail["reason"] == "look again"


def test_a_refused_nudge_is_exit_code_1(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    public_api.cancel(agent.id, actor="cli:test")
    said = run("nudge", "1")
    assert said.code == 1
    assert "refused" in said.out
    assert run("nudge", "1", "--json").json["decision"]["answer"] == "refused"


def test_cancel_needs_a_yes_where_nobody_can_be_asked(tmp_path: Path) -> None:
    root = split(submitted(care(tmp_path)))[0]
    said = run("cancel", "1")
    assert said.code == 2
    assert "3 agents, 1 queued and 0 running" in said.error
    assert "--yes" in said.error
    assert public_api.get_agent(root.id).state == AgentState.WAITING


def test_cancel_ends_everything_below(tmp_path: Path) -> None:
    split(submitted(care(tmp_path)))
    said = run("cancel", "1", "--yes", "--reason", "enough")
    assert said.code == 0
    assert "3 agents, 1 queued and 0 running" in said.out
    assert set(Agent.objects.values_list("state", flat=True)) == {AgentState.ABANDONED}
    assert run("cancel", "1", "--yes").code == 1


@pytest.mark.parametrize("scope", [("--fleet",), ("--tree", "1.1"), ("--repo", "app")])
def test_cancel_ends_a_whole_scope(tmp_path: Path, scope: tuple[str, ...]) -> None:
    split(submitted(care(tmp_path)))
    assert run("cancel", *scope).code == 2
    said = run("cancel", *scope, "--yes")
    assert said.code == 0, said.error
    assert "3 agents, 1 queued and 0 running" in said.out
    assert set(Agent.objects.values_list("state", flat=True)) == {AgentState.ABANDONED}
    assert run("cancel", *scope, "--yes").code == 1


def test_retry_gives_a_cancelled_agent_another_chance(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    public_api.cancel(agent.id, actor="cli:test")
    said = run("retry", "1")
    assert said.code == 0, said.error
    assert "admitted" in said.out
    again = run("retry", "1")
    assert again.code == 1
    assert "explain" in again.error


def test_a_paused_tree_holds_its_queue_until_it_is_opened(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    said = run("pause", "--tree", "1")
    assert said.code == 0
    assert "1 queued run held back" in said.out
    assert Execution.objects.get().is_held
    assert "paused" in run("status").out
    opened = run("unpause", "--tree", "1", "--json")
    assert opened.json == {
        "scope": public_api.scope_of(ScopeKind.TREE, agent),
        "name": "the tree of local/app#1",
        "is_paused": False,
        "released": 1,
    }
    assert not Execution.objects.get().is_held


def test_each_scope_can_be_paused_by_name(tmp_path: Path) -> None:
    repository = care(tmp_path)
    submitted(repository)
    for args in (("1",), ("--fleet",), ("--repo", repository.source), ("--repo", "local/app"), ("--repo", "app")):
        assert run("pause", *args).code == 0
        assert run("unpause", *args).code == 0
    said = run("pause", "--repo", str(tmp_path / "unknown"))
    assert said.code == 2
    assert "local/app" in said.error
    for wrong in ((), ("1", "--fleet")):
        assert run("pause", *wrong).code != 0


def test_a_budget_is_raised_for_the_scope_that_is_named(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    assert run("budget", "raise", "--tree", "1", "--executions", "7", "--wall-seconds", "9000").code == 0
    view = public_api.envelope(public_api.scope_of(ScopeKind.TREE, agent))
    assert (view.executions_limit, view.wall_limit_seconds) == (7, 9000)
    for args, fix in (
        (("raise", "--tree", "1"), "--executions"),
        (("raise", "--executions", "5"), "--tree"),
        (("show", "--executions", "5"), "budget raise"),
        (("raise", "--tree", "1", "--wall-seconds", "1"), "give no less than that"),
    ):
        said = run("budget", *args)
        assert said.code == 2
        assert fix in said.error


def test_waiting_ends_when_a_person_is_needed(source: str) -> None:
    public_api.add_repository(source)
    run("submit", "--repo", source, "--title", "Fix", "--command", "true")
    run("pause", "--tree", "1")
    said = run("submit", "--repo", source, "--title", "Fix", "--command", "true", "--wait", "20")
    assert said.code == 1
    assert "it needs a person" in said.out
    assert "explain local/app#1" in said.out


def test_waiting_ends_when_time_is_up(source: str) -> None:
    said = run("submit", "--repo", source, "--title", "Fix", "--command", "true", "--wait", "1", "--json")
    assert said.code == 1
    assert said.records[0]["is_new"] is True
    assert said.records[-1]["standing"] == "time is up"
    assert "agent.created" in {record.get("kind") for record in said.records}


def test_waiting_for_what_was_given_up_is_not_ok(source: str) -> None:
    args = ("submit", "--repo", source, "--title", "Fix", "--command", "true")
    run(*args)
    run("cancel", "1", "--yes")
    assert run(*args, "--wait").code == 1


def test_cancelling_a_running_agent_asks_it_to_stop(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    started(agent)
    said = run("cancel", "1", "--yes")
    assert "0 queued and 1 running" in said.out
    assert Execution.objects.get().stop_reason == "cancelled"
    assert ended(agent, state=State.CANCELLED).state == AgentState.ABANDONED
