"""Locks between agents: by tools, by what stands around file tools, at publication, before dispatch; by hand."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coordinator import invariants, sweeps
from coordinator.agents import integration
from coordinator.care import repositories
from coordinator.contention import neighbours
from coordinator.ending import outcomes, resolutions
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Conflict, Message, Nudge
from coordinator.operating import control, holds
from coordinator.public_types import AgentState, Answer, Source
from coordinator.teamwork import locking
from grid import executions, gridctl
from grid import public_code as grid_code
from grid import public_events as grid_events
from grid import public_locks as locks
from grid.agents import registry
from grid.agents.base import Wiring
from grid.conf import conf
from grid.models import Execution
from grid.public_types import Outcome, OutcomeKind, Result, State
from tests.factories import git, make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, claimed, end, running
from tests.integration.coordinator.at_once import together
from tests.integration.coordinator.web_here import Web, web_here
from tests.services.runs_of_locks import lapse
from tests.unit.grid.agents.support import doubles
from tests.unit.grid.agents.support.runs import Place

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    with web_here() as server:
        yield server


def family(tmp_path: Path, policy: str = "", **spec: Any) -> tuple[Agent, Agent, Agent]:
    """A parent that waits for two children."""
    files = {"README.md": "hello\n", "app.py": "one\n", **({".agentgrid.yml": policy} if policy else {})}
    parent = make_agent(make_git_repository(tmp_path / "app", files))
    policy_row = repositories.policy_of(parent.repository_id)
    assert policy_row is not None
    Agent.objects.filter(pk=parent.pk).update(state=AgentState.WAITING, base=policy_row.head)
    parent.refresh_from_db()
    return parent, make_child(parent, title="The parser", **spec), make_child(parent, title="The printer", **spec)


def call(run: Running, path: str, **how: Any) -> locks.Answer:
    return locks.acquire(run.execution_id, fence=run.fence, path=path, **how)


def work(run: Running, tmp_path: Path, **files: str) -> str:
    """A commit in the store that changes these files (`__` for a dot in their names), as a run's end leaves it."""
    agent = run.agent
    store = conf().store_dir(integration.key(agent))
    clone = tmp_path / f"clone-{run.execution_id}"
    subprocess.run(["git", "clone", "-q", str(store), str(clone)], check=True, capture_output=True)
    base = Execution.objects.get(pk=run.execution_id).spec["work"]["base"]
    git(clone, "fetch", "-q", "origin", base)
    git(clone, "checkout", "-q", base)
    for name, text in files.items():
        (clone / name.replace("__", ".")).write_text(text)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "Work")
    git(clone, "push", "-q", "origin", f"HEAD:refs/executions/{run.execution_id}")
    return git(clone, "rev-parse", "HEAD")


def finish(run: Running, head: str) -> None:
    """End a run well, with this commit; nothing is applied."""
    result = Result(outcome=Outcome(kind=OutcomeKind.DONE, summary="done"), head=head, changed=True)
    assert executions.end(run.execution_id, token=run.fence, state=State.SUCCEEDED, reason="done", result=result)


def lock_events(agent: Agent) -> list[str]:
    return [event.kind for event in grid_events.read_stream(agent.stream) if event.kind.startswith("lock.")]


# --- tools ------------------------------------------------------------------------------------------------------------


def test_siblings_take_wait_see_and_give_back(web, tmp_path):
    one, other = map(running, family(tmp_path)[1:])
    status, got = web.rest(one.headers, "acquire_lock", path="./src//app.py", reason="the parser")
    assert (status, got["result"]["granted"], got["result"]["path"]) == (200, True, "src/app.py")
    assert got["result"]["enforced"] is True and got["result"]["token"] > 0

    _, refused = web.rest(other.headers, "acquire_lock", path="src")
    assert refused["result"]["granted"] is False
    held = refused["result"]["held_by"][0]
    assert f"agent {one.agent_id} (1.1 The parser)" == held["by"] and held["reason"] == "the parser"
    conflict = Conflict.objects.get(pk=refused["result"]["conflict"])
    assert (conflict.requester_id, conflict.holder_id) == (other.agent_id, one.agent_id)

    _, line = web.rest(other.headers, "acquire_lock", path="src/app.py", wait=True)
    assert line["result"]["ticket"] and "in line" in line["result"]["advice"]
    _, listed = web.rest(other.headers, "list_locks", path="src/*.py")
    assert [(row["path"], row["state"]) for row in listed["result"]["locks"]] == [("src/app.py", "held")]
    assert [row["by"] for row in listed["result"]["waiting"]] == ["you"]

    assert web.rest(one.headers, "release_lock", path="src/app.py")[1]["result"] == {"released": True}
    assert [view.execution_id for view in locks.held()] == [other.execution_id]
    sweeps.apply_events()
    told = [message.post.text for message in Message.objects.filter(agent_id=other.agent_id)]
    assert any("You hold the lock on src/app.py now" in text for text in told)


@pytest.mark.parametrize(
    ("path", "words"),
    [("/etc/passwd", "absolute"), ("../x", "leaves"), ("a{b}", "braces"), (".git/config", "below .git")],
)
def test_what_is_no_path_is_refused_in_words(web, tmp_path, path, words):
    run = running(make_agent(make_git_repository(tmp_path / "app")))
    status, answer = web.rest(run.headers, "acquire_lock", path=path)
    assert status == 422 and words in answer["error"]


def test_lock_calls_take_no_notes_with_them_and_are_not_counted(web, tmp_path):
    """Programs around a model ask for locks; nobody would read there what is meant for the model."""
    from coordinator.talk import messages

    run = running(make_agent(make_git_repository(tmp_path / "app")))
    messages.tell(run.agent_id, sender="cli:ann", text="look at the docs")
    assert web.rest(run.headers, "acquire_lock", path="a.py")[1]["notes"] == []
    assert any("look at the docs" in note for note in web.rest(run.headers, "report_state", status="x")[1]["notes"])
    assert grid_events.count_events(f"execution:{run.execution_id}", kind="tool.requested", door="grid") == 1


@pytest.mark.parametrize(
    ("policy", "granted", "enforced"), [("locks: off\n", True, False), ("locks: advisory\n", False, False)]
)
def test_a_repository_says_what_locks_mean(web, tmp_path, policy, granted, enforced):
    one, other = map(running, family(tmp_path, policy)[1:])
    call(one, "app.py")
    _, answer = web.rest(other.headers, "acquire_lock", path="app.py")
    assert (answer["result"]["granted"], answer["result"]["enforced"]) == (granted, enforced)


# --- around file tools ------------------------------------------------------------------------------------------------


def guard(web: Web, run: Running, root: Path, **tool_input: str) -> subprocess.CompletedProcess[str]:
    """What Claude Code does before it edits: the placed hook, with the call as JSON on standard input."""
    home = root.parent / "home"
    home.mkdir(exist_ok=True)
    gridctl.place(home, python=sys.executable)
    files = Place(root=root.parent).files
    options = {"model": "claude-sonnet-4-5", "ask_locks": True}
    launch = registry.get("claude").launch(options=options, files=files, prompt="x")
    settings = json.loads(launch.files[".agentgrid/claude-hooks.json"])
    (hook,) = settings["hooks"]["PreToolUse"]
    assert hook["matcher"] == "Edit|Write|MultiEdit|NotebookEdit" and "--bare" not in launch.argv
    said = {"hook_event_name": "PreToolUse", "tool_name": "Edit", "cwd": str(root), "tool_input": tool_input}
    env = {"PATH": os.environ["PATH"], "AGENTGRID_URL": web.url, "AGENTGRID_TOKEN": run.token}
    command = shlex.split(hook["hooks"][0]["command"])
    return subprocess.run(command, input=json.dumps(said), env=env, capture_output=True, text=True, timeout=60)


def test_the_hook_of_claude_takes_the_lock_or_blocks_the_edit(web, tmp_path):
    one, other = map(running, family(tmp_path)[1:])
    root = tmp_path / "run" / "workspace"
    (root / "src").mkdir(parents=True)
    (root / "src" / "[id].tsx").write_text("x")
    (root / "link").symlink_to("src")
    (tmp_path / "outside").write_text("x")

    done = guard(web, one, root, file_path=str(root / "src" / "[id].tsx"))
    assert (done.returncode, done.stderr) == (0, "")
    assert [view.pattern for view in locks.held(execution_id=one.execution_id)] == ["src/\\[id\\].tsx"]

    blocked = guard(web, other, root, file_path="link/[id].tsx")
    assert blocked.returncode == 2, "the link leads to the locked file"
    assert f"is locked by agent {one.agent_id}" in blocked.stderr and "Conflict" in blocked.stderr

    assert guard(web, other, root, file_path="src/free.ts").returncode == 0
    assert guard(web, other, root, file_path=str(tmp_path / "outside")).returncode == 0
    assert guard(web, other, root, file_path=".agentgrid/outcome.json").returncode == 0
    assert [view.pattern for view in locks.held(execution_id=other.execution_id)] == ["src/free.ts"]

    end(other)
    over = guard(web, other, root, file_path="src/free.ts")
    assert over.returncode == 2 and "cannot be locked" in over.stderr


def test_the_built_in_agent_asks_before_it_writes(web, tmp_path):
    one, other = map(running, family(tmp_path)[1:])
    call(one, "app.py", reason="the parser")
    place = Place(root=tmp_path / "run")
    for name in ("workspace", "home"):
        (place.root / name).mkdir(parents=True)
    steps = [
        {"call": "write_file", "args": {"path": "app.py", "content": "mine"}},
        {"expect": "is locked by agent", "call": "write_file", "args": {"path": "new.py", "content": "x"}},
        {"call": "finish", "args": {"outcome": "done", "summary": "went on elsewhere"}},
    ]
    wiring = Wiring(
        mcp_url=f"{web.url}/mcp",
        tools=("write_file", "finish"),
        grid_tools=("acquire_lock", "release_lock"),
        mixins=({"file_lock": None},),
    )
    given = {"model": "scripted", "script": json.dumps({"steps": steps})}
    wired = registry.get("builtin").wired(options=given, wiring=wiring)
    ran = place.run("builtin", wired.options, env={"AGENTGRID_TOKEN": other.token}, timeout=60)

    assert ran.verdict.ok, ran.verdict
    texts = [body["text"] for body in ran.bodies("tool.result") if not body["ok"]]
    assert len(texts) == 1 and f"app.py is locked by agent {one.agent_id} (1.1 The parser)" in texts[0]
    assert not (place.files.workspace / "app.py").exists()
    assert (place.files.workspace / "new.py").read_text() == "x"
    assert [view.pattern for view in locks.held(execution_id=other.execution_id)] == ["new.py"]


def test_the_hook_blocks_what_it_cannot_tell_about(web, tmp_path):
    """With any other exit code than 2 the call would be let through."""
    one = running(family(tmp_path)[1])
    root = tmp_path / "run" / "workspace"
    root.mkdir(parents=True)
    done = guard(web, one, root, file_path="half-\ud800")
    assert done.returncode == 2 and "must not be changed now" in done.stderr


def test_an_edit_that_fails_gives_no_lock_back_that_the_agent_asked_for(web, tmp_path):
    _, one, _ = family(tmp_path)
    run = running(one)
    assert call(run, "app.py", reason="asked for by the model").granted
    place = Place(root=tmp_path / "run")
    for name in ("workspace", "home"):
        (place.root / name).mkdir(parents=True)
    steps = [
        {"call": "edit_file", "args": {"path": "app.py", "old": "nowhere", "new": "x"}},
        {"call": "edit_file", "args": {"path": "new.py", "old": "nowhere", "new": "x"}},
        {"call": "finish", "args": {"outcome": "done", "summary": "tried"}},
    ]
    wiring = Wiring(
        mcp_url=f"{web.url}/mcp",
        tools=("edit_file", "finish"),
        grid_tools=("acquire_lock", "release_lock"),
        mixins=({"file_lock": None},),
    )
    given = {"model": "scripted", "script": json.dumps({"steps": steps})}
    wired = registry.get("builtin").wired(options=given, wiring=wiring)
    place.run("builtin", wired.options, env={"AGENTGRID_TOKEN": run.token}, timeout=60)
    assert [view.pattern for view in locks.held(execution_id=run.execution_id)] == ["app.py"]


@pytest.mark.parametrize("is_locked", [True, False])
def test_an_acp_agent_gets_permission_with_the_lock_alone(web, tmp_path, is_locked):
    one, other = map(running, family(tmp_path)[1:])
    if is_locked:
        call(one, "changed")
    place = Place(root=tmp_path / "run")
    place.files.home.mkdir(parents=True)
    wiring = Wiring(mcp_url=f"{web.url}/mcp", grid_tools=("acquire_lock",))
    wired = registry.get("acp").wired(options=doubles.options("acp", "ask"), wiring=wiring)
    env = {"AGENTGRID_TOKEN": other.token, "AGENTGRID_URL": web.url}
    ran = place.run("acp", wired.options, env=env, timeout=60)

    assert (place.root / "chosen").read_text() == ("no" if is_locked else "yes")
    said = [body for body in ran.bodies("agent.error") if body.get("locked")]
    assert bool(said) == is_locked
    if is_locked:
        assert f"changed is locked by agent {one.agent_id}" in said[0]["text"]
        # The protocol has no words for it: the agent is told in its next turn.
        assert "A change of yours was refused: changed is locked by" in (place.root / "got").read_text()
        assert "denied" not in ran.verdict.reason
    else:
        assert [view.pattern for view in locks.held(execution_id=other.execution_id)] == ["changed"]


# --- publication ------------------------------------------------------------------------------------------------------


def test_work_on_what_another_has_locked_waits_until_it_is_free(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    call(one, "app.py")
    finish(other, work(other, tmp_path, app__py="two\n"))

    outcomes.apply(other.execution_id)
    second.refresh_from_db()
    assert (second.is_applied, second.state) == (False, AgentState.QUEUED)

    end(one)  # nothing changed, and its lock is gone with it
    outcomes.apply(other.execution_id)
    second.refresh_from_db()
    assert second.state == AgentState.DONE, second.blocked_reason


def test_among_very_many_files_none_slips_past_a_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "MAX_PATHS", 2)
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    call(one, "z.py")
    finish(other, work(other, tmp_path, a__py="a\n", b__py="b\n", z__py="z\n"))
    outcomes.apply(other.execution_id)
    assert not Agent.objects.get(pk=second.pk).is_applied


def test_a_name_that_nobody_can_lock_is_no_way_past_the_lock_of_its_folder(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    call(one, ".")
    finish(other, work(other, tmp_path, **{"a\x01b": "x\n"}))
    outcomes.apply(other.execution_id)
    assert not Agent.objects.get(pk=second.pk).is_applied


def test_work_under_a_lock_kept_to_the_end_is_taken_whoever_has_it_now(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    call(one, "app.py")
    call(other, "app.py", wait=True)
    finish(one, work(one, tmp_path, app__py="one more\n"))
    assert [view.execution_id for view in locks.held()] == [other.execution_id]

    outcomes.apply(one.execution_id)

    first.refresh_from_db()
    assert first.state == AgentState.DONE, first.blocked_reason


def test_work_under_a_lost_lock_is_not_taken_and_its_agent_is_told(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    call(one, "app.py")
    lapse(Execution.objects.get(pk=one.execution_id))
    assert call(other, "app.py").granted
    executions.renew(host="nowhere", tokens={one.execution_id: one.fence}, slots=50)
    finish(one, work(one, tmp_path, app__py="stale\n"))

    outcomes.apply(one.execution_id)

    first.refresh_from_db()
    assert first.state == AgentState.QUEUED
    assert "lost its lock" in first.conflict["refused"] and "Take the locks again" in first.conflict["refused"]
    assert first.head != Execution.objects.get(pk=one.execution_id).result["head"]


def lost(one: Running, other: Running, path: str = "app.py") -> None:
    """One loses its lock to the other, and comes back."""
    call(one, path)
    lapse(Execution.objects.get(pk=one.execution_id))
    assert call(other, path).granted
    executions.renew(host="nowhere", tokens={one.execution_id: one.fence}, slots=50)


def test_work_that_is_kept_while_sub_issues_run_is_looked_at_as_well(tmp_path):
    """What stands on the branch once is in no later run's difference."""
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    make_child(first, title="Below")
    lost(one, other)
    finish(one, work(one, tmp_path, app__py="stale\n"))

    outcomes.apply(one.execution_id)

    first.refresh_from_db()
    assert "lost its lock" in first.conflict.get("refused", ""), first.state
    assert integration.branch_head(first) == ""


def test_a_checkpoint_carries_no_stale_work_past_the_locks(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    lost(one, other)
    result = Result(outcome=None, head=work(one, tmp_path, app__py="stale\n"), changed=True)
    assert executions.end(one.execution_id, token=one.fence, state=State.INTERRUPTED, reason="deploy", result=result)
    outcomes.apply(one.execution_id)
    again = claimed(first)
    assert Execution.objects.get(pk=again.execution_id).spec["work"]["base"] == result.head
    finish(again, work(again, tmp_path, README__md="more\n"))

    outcomes.apply(again.execution_id)

    first.refresh_from_db()
    assert "lost its lock" in first.conflict.get("refused", ""), first.state


def test_a_checkpoint_waits_for_the_locks_of_others_too(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    result = Result(outcome=None, head=work(one, tmp_path, app__py="mine\n"), changed=True)
    assert executions.end(one.execution_id, token=one.fence, state=State.INTERRUPTED, reason="deploy", result=result)
    outcomes.apply(one.execution_id)
    again = claimed(first)
    call(other, "app.py")
    finish(again, work(again, tmp_path, README__md="more\n"))

    outcomes.apply(again.execution_id)

    assert not Agent.objects.get(pk=first.pk).is_applied


def test_what_was_merged_in_from_above_is_nobody_s_own_change(tmp_path):
    parent, first, second = family(tmp_path)
    one, other = running(first), running(second)
    merged = work(one, tmp_path, app__py="of another\n")
    repository = integration.key(parent)
    assert grid_code.set_branch(repository=repository, branch=parent.branch, commit=merged, expected="")
    clone = tmp_path / f"clone-{one.execution_id}"
    (clone / "README.md").write_text("mine\n")
    git(clone, "commit", "-aqm", "Mine")
    git(clone, "push", "-q", "origin", f"HEAD:refs/executions/{one.execution_id}")
    call(other, "app.py")
    finish(one, git(clone, "rev-parse", "HEAD"))

    outcomes.apply(one.execution_id)

    first.refresh_from_db()
    assert first.state == AgentState.DONE, first.blocked_reason


def test_of_several_holders_each_is_asked_about_what_it_has_once(tmp_path):
    parent, first, second = family(tmp_path)
    one, other, third = running(first), running(second), running(make_child(parent, title="Third"))
    call(one, "app.py")
    call(other, "README.md")
    finish(third, work(third, tmp_path, app__py="three\n", README__md="three\n"))
    Execution.objects.filter(pk=third.execution_id).update(ended_at=timezone.now() - timedelta(seconds=70))
    for _ in range(3):
        outcomes.apply(third.execution_id)
        resolutions.advance_all()
    found = {(row.holder_id, row.state, row.joined, *row.patterns) for row in Conflict.objects.all()}
    assert found == {(first.pk, "open", 0, "app.py"), (second.pk, "open", 0, "README.md")}


def test_waiting_for_a_lock_becomes_a_conflict_and_does_not_last_for_ever(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    call(one, "app.py")
    finish(other, work(other, tmp_path, app__py="two\n"))
    Execution.objects.filter(pk=other.execution_id).update(ended_at=timezone.now() - timedelta(seconds=70))
    outcomes.apply(other.execution_id)
    (conflict,) = Conflict.objects.all()
    assert (conflict.requester_id, conflict.holder_id) == (second.pk, first.pk)
    assert not Agent.objects.get(pk=second.pk).is_applied

    Execution.objects.filter(pk=other.execution_id).update(ended_at=timezone.now() - timedelta(hours=1))
    outcomes.apply(other.execution_id)
    second.refresh_from_db()
    assert second.is_applied and lock_events(second) == ["lock.passed-over"]


def test_advice_is_recorded_and_keeps_nobody(tmp_path):
    _, first, second = family(tmp_path, "locks: advisory\n")
    one, other = running(first), running(second)
    call(one, "app.py")
    finish(other, work(other, tmp_path, app__py="two\n"))
    outcomes.apply(other.execution_id)
    second.refresh_from_db()
    assert second.state == AgentState.DONE and lock_events(second) == ["lock.passed-over"]


def test_a_child_does_not_wait_for_its_own_parent(tmp_path):
    parent, first, _ = family(tmp_path)
    Agent.objects.filter(pk=parent.pk).update(state=AgentState.NEW)
    above, one = running(parent), running(first)
    call(above, "app.py")
    finish(one, work(one, tmp_path, app__py="below\n"))
    outcomes.apply(one.execution_id)
    first.refresh_from_db()
    assert first.is_applied


# --- footprints -------------------------------------------------------------------------------------------------------


def test_overlapping_footprints_run_one_after_the_other(tmp_path):
    _, first, second = family(tmp_path, footprint=["src/**"])
    one = running(first)

    nudge = dispatch.nudge(second.pk, source=Source.PARENT)
    assert (nudge.answer, nudge.decision["code"]) == (Answer.DEFERRED, "footprint")
    assert "1.1 The parser (src/**)" in nudge.decision["reason"]

    end(one)
    second.refresh_from_db()
    assert second.state == AgentState.QUEUED, "the end of the first one is what it waited for"
    assert Nudge.objects.get(pk=nudge.pk).answer == Answer.ADMITTED


def test_others_and_people_are_not_kept_waiting(tmp_path):
    parent, first, second = family(tmp_path, footprint=["src/**"])
    elsewhere = make_child(parent, title="The docs", footprint=["docs"])
    undeclared = make_child(parent, title="Anything")
    below = make_child(first, title="Below the parser", footprint=["src/a.py"])
    running(first)
    for agent in (elsewhere, undeclared, below):
        assert dispatch.nudge(agent.pk, source=Source.PARENT).answer == Answer.ADMITTED, agent
    assert dispatch.nudge(second.pk, source=Source.OPERATOR).answer == Answer.ADMITTED


def test_of_siblings_launched_at_the_same_moment_one_runs(tmp_path):
    """Each looks again when the tree's envelope is its own; on PostgreSQL, where both are in the middle, this alone keeps them."""
    parent, first, second = family(tmp_path, footprint=["src"])
    more = [make_child(parent, title=f"Rival {number}", footprint=["src/a.py", "src"]) for number in range(3)]
    rivals = [first, second, *more]
    told = together(len(rivals), lambda n: dispatch.nudge(rivals[n].pk, source=Source.PARENT).decision["code"])
    assert sorted(map(str, told)) == ["admitted", *["footprint"] * 4]


@pytest.mark.parametrize("how", ["hold", "pause"])
def test_nobody_waits_for_an_end_that_a_person_holds_back(tmp_path, how):
    _, first, second = family(tmp_path, footprint=["src"])
    one = running(first)
    if how == "hold":
        holds.set_hold(first.issue_id, repository_id=first.repository_id, held=True, actor="cli:me")
    else:
        control.pause(first.stream, actor="cli:me")
    dispatch.nudge(second.pk, source=Source.PARENT)
    assert Agent.objects.get(pk=second.pk).decision["code"] == "footprint", "it runs still"
    Execution.objects.filter(pk=one.execution_id).exclude(state__in=["succeeded", "cancelled"]).update(
        state="succeeded", ended_at=timezone.now()
    )
    decided = dispatch.decide_again(second.pk)
    assert decided is not None and decided.answer == Answer.ADMITTED


def test_looking_for_neighbours_costs_the_same_with_many(tmp_path):
    parent, first, second = family(tmp_path, footprint=["src"])
    running(second)

    def cost() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert neighbours.overlapping(first)
        return len(asked)

    alone = cost()
    for number in range(4):
        running(make_child(parent, title=f"Other {number}"))
    assert cost() == alone


def test_a_lock_of_a_running_sibling_counts_like_its_footprint(tmp_path):
    parent, first, _ = family(tmp_path)
    declared = make_child(parent, title="Declared", footprint=["src/app.py"])
    call(running(first), "src")
    assert dispatch.nudge(declared.pk, source=Source.PARENT).decision["code"] == "footprint"


def test_told_instead_of_sequenced(tmp_path):
    _, first, second = family(tmp_path, "footprints: tell\n", footprint=["src/**"])
    running(first)
    assert dispatch.nudge(second.pk, source=Source.PARENT).answer == Answer.ADMITTED
    second.refresh_from_db()
    assert second.execution is not None
    prompt = second.execution.prompt
    assert "1.1 The parser (src/**)" in prompt


# --- by hand ----------------------------------------------------------------------------------------------------------


def ask(*words: str) -> Any:
    out = StringIO()
    call_command("locks", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_operators_see_and_release(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    lock = call(one, "app.py", reason="\x1b[31mred").lock
    call(other, "app.py", wait=True)
    assert lock is not None

    held, waiting = ask()["locks"]
    assert (held["path"], held["agent"], held["place"], held["state"]) == ("app.py", first.pk, "1.1", "held")
    assert waiting["waits_for"] == [held["id"]]
    assert ask("--repository", first.repository.scope)["locks"] == ask()["locks"]

    with pytest.raises(CommandError, match="--reason"):
        call_command("locks", "release", str(lock.id))
    assert ask("release", str(lock.id), "--reason", "it hangs")["lock"]["state"] == "broken"
    assert AuditEntry.objects.get(action="release_lock").target == f"lock:{lock.id}"
    assert [view.execution_id for view in locks.held()] == [other.execution_id]
    sweeps.apply_events()
    told = [message.post.text for message in Message.objects.filter(agent=first)]
    assert any("was taken away" in text and "it hangs" in text for text in told)
    with pytest.raises(CommandError, match="not open any more"):
        call_command("locks", "release", str(lock.id), "--reason", "again")


def test_the_doctor_sees_two_writers_and_what_was_left_behind(tmp_path):
    _, first, second = family(tmp_path)
    one, other = running(first), running(second)
    mine, theirs = call(one, "app.py").lock, call(other, "other.py").lock
    assert mine is not None
    assert theirs is not None
    assert list(invariants.locks_have_one_writer()) == []

    from grid.models import FileLock, LockSpace

    FileLock.objects.filter(pk=theirs.id).update(pattern="app.py", key="app.py")
    LockSpace.objects.update(token=1)
    Execution.objects.filter(pk=one.execution_id).update(state=State.SUCCEEDED)
    found = [violation.law for violation in invariants.locks_have_one_writer()]
    assert found == ["3 fencing tokens only grow", "3 a run that has ended holds nothing"]
    Execution.objects.filter(pk=one.execution_id).update(state=State.RUNNING)
    assert next(v.law for v in invariants.locks_have_one_writer()) == "3 a lock has one writer"


def test_names_of_holders_are_clean(tmp_path):
    agent = make_agent(make_git_repository(tmp_path / "app"), title="Evil\x1b[31m\u202e title\nwith lines")
    view = call(running(agent), "a.py").lock
    assert view is not None
    name = locking.name_of(view, locking.holders([view]))
    assert name.isprintable() and "\n" not in name
