"""Claude Code, Codex, OpenCode and Gemini CLI themselves on a whole stack: our tools, our gateway, a double for the model.

They are not part of what the tests install: `make agents-install` gets them from npm. `make test` leaves these tests out, `make test-clis`
runs them; without the programs they are skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentgrid.supervisor import ROOT
from grid.agents.pins import PINS
from grid.public_testing import FakeModel
from tests.factories import make_git_repository
from tests.services.stack import Stack

Json = dict[str, Any]
AGENTS = ROOT / "var" / "agents" / "bin"
KEY = "canary-of-the-real-key"
MODELS = {
    "claude": "claude-sonnet-4-5",
    "codex": "gpt-5.2",
    "opencode": "gpt-5.2",
    "gemini": "gemini-2.5-flash",
}
PROVIDERS = {"claude": "anthropic", "codex": "openai", "opencode": "openai", "gemini": "gemini"}
WORKS: list[Json] = [
    {"text": "I write it.", "calls": [{"shell": "echo hello > hello.txt"}], "usage": {"input": 1000, "output": 50}},
    {
        "text": "I look around.",
        "calls": [{"tool": "get_children", "input": {}}],
        "usage": {"input": 1200, "output": 20},
    },
    {"text": "Created hello.txt.", "usage": {"input": 1300, "output": 10}},
]
pytestmark = [pytest.mark.clis, pytest.mark.timeout(240)]


def needs(*names: str) -> None:
    missing = [name for name in names if not (AGENTS / name).exists()]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} not installed: make agents-install (from npm, 1.2 GB) puts them into var/agents"
        )


@pytest.fixture
def model() -> Iterator[Callable[[list[Json]], FakeModel]]:
    started: list[FakeModel] = []

    def start(steps: list[Json]) -> FakeModel:
        started.append(FakeModel(steps).__enter__())
        return started[-1]

    yield start
    for server in started:
        server.__exit__(None, None, None)


@pytest.fixture
def grid(new_stack: Callable[..., Stack]) -> Callable[..., Stack]:
    def start(upstream: FakeModel, **variables: str) -> Stack:
        environment = {
            "GATEWAY_PROVIDERS": "anthropic,openai,gemini",
            **{f"GATEWAY_{name}_URL": upstream.url for name in ("ANTHROPIC", "OPENAI", "GEMINI")},
            **{f"GATEWAY_{name}_API_KEY": KEY for name in ("ANTHROPIC", "OPENAI", "GEMINI")},
            "AGENTGRID_AGENT_PATH": f"{AGENTS}:/usr/local/bin:/usr/bin:/bin",
            "AGENTGRID_MAX_ATTEMPTS": "1",
            **variables,
        }
        stack: Stack = new_stack(extra_env=environment)
        return stack.start("web").start()

    return start


def submit(stack: Stack, repository: Path, agent: str, *options: str, title: str = "") -> str:
    words = [word for option in (f"model={MODELS[agent]}", *options) for word in ("--option", option)]
    title = title or f"Say hello by {agent}"
    stack.manage("submit", "--repo", str(repository), "--title", title, "--agent", agent, *words)
    return title


def rows(stack: Stack, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{stack.state_dir / 'agentgrid.sqlite3'}?mode=ro", uri=True) as database:
        return database.execute(sql, values).fetchall()


def state_of(stack: Stack, title: str) -> tuple[str, str]:
    found = rows(
        stack,
        "SELECT a.state, a.blocked_reason FROM coordinator_agent a JOIN tracker_issue i ON i.id = a.issue_id WHERE i.title = ?",
        title,
    )
    return found[0] if found else ("", "")


def ended(stack: Stack, titles: list[str], *, timeout: float = 120) -> dict[str, tuple[str, str]]:
    def all_ended() -> dict[str, tuple[str, str]]:
        states = {title: state_of(stack, title) for title in titles}
        over = all(state in ("done", "failed", "blocked", "abandoned") for state, _ in states.values())
        return states if over else {}

    return stack.wait_until(all_ended, f"{', '.join(titles)} ended", timeout=timeout, pause=0.3)


def executions(stack: Stack, agent: str) -> list[tuple[Any, ...]]:
    return rows(stack, "SELECT id, state, reason, connected_at FROM grid_execution WHERE agent = ?", agent)


def events(stack: Stack, execution: str, kind: str) -> list[Json]:
    stream = f"execution:{execution[:8]}-{execution[8:12]}-{execution[12:16]}-{execution[16:20]}-{execution[20:]}"
    found = rows(stack, "SELECT body FROM grid_event WHERE stream = ? AND kind = ? ORDER BY seq", stream, kind)
    return [json.loads(body) for (body,) in found]


def calls(stack: Stack, execution: str) -> list[tuple[Any, ...]]:
    return rows(
        stack,
        "SELECT state, model, usd_micros, input_tokens, output_tokens FROM coordinator_modelcall WHERE execution_id = ?",
        execution,
    )


def test_each_writes_the_file_calls_a_tool_and_is_metered(model, grid, tmp_path) -> None:
    needs(*PINS)
    stack = grid(model(WORKS))
    repository = make_git_repository(tmp_path / "app")
    titles = {name: submit(stack, repository, name) for name in PINS}
    states = ended(stack, list(titles.values()))
    assert {title: state for title, (state, _) in states.items()} == dict.fromkeys(titles.values(), "done"), states
    for name in PINS:
        ((execution, state, _, connected),) = executions(stack, name)
        assert (state, bool(connected)) == ("succeeded", True), name
        assert "get_children" in {event["name"] for event in events(stack, execution, "tool.requested")}, name
        metered = calls(stack, execution)
        assert len(metered) >= 3, name
        assert {call[0] for call in metered} == {"settled"}, name
        assert sum(call[3] for call in metered) >= 3500, name
        assert all(call[2] for call in metered), name
    branches = subprocess.run(
        ["git", "-C", str(repository), "branch", "--list", "agent/*", "--format=%(refname:short)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(branches) == 4
    for branch in branches:
        shown = subprocess.run(
            ["git", "-C", str(repository), "show", f"{branch}:hello.txt"], capture_output=True, text=True, check=True
        )
        assert shown.stdout == "hello\n"
    assert_no_key(stack)
    assert stack.manage_json("doctor")["violations"] == []


def assert_no_key(stack: Stack) -> None:
    for file in [*stack.folder.glob("*.log"), *(stack.state_dir / "runs").rglob("*")]:
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file
    for (body,) in rows(stack, "SELECT body FROM grid_event"):
        assert KEY not in body


@pytest.mark.parametrize("status", [401, 500])
def test_a_model_that_refuses_ends_the_run_as_a_failure(model, grid, tmp_path, status) -> None:
    names = ("claude", "codex", "gemini") if status == 401 else ("claude", "codex")
    needs(*names)
    stack = grid(model([{"status": status, "error": "scripted refusal"}]))
    repository = make_git_repository(tmp_path / "app")
    titles = [submit(stack, repository, name) for name in names]
    states = ended(stack, titles)
    assert {state for state, _ in states.values()} == {"failed"}, states
    for name in names:
        ((_, state, reason, _),) = executions(stack, name)
        assert state == "failed", name
        assert reason, name


def test_a_cap_on_turns_ends_the_run_as_a_failure(model, grid, tmp_path) -> None:
    needs("claude", "gemini")
    again = [{"text": "Once more.", "calls": [{"shell": "echo more >> hello.txt"}]}] * 30
    stack = grid(model(again))
    repository = make_git_repository(tmp_path / "app")
    titles = [submit(stack, repository, name, "max_turns=3") for name in ("claude", "gemini")]
    states = ended(stack, titles)
    assert {state for state, _ in states.values()} == {"failed"}, states
    ((_, _, reason, _),) = executions(stack, "claude")
    assert "turn" in reason


def test_a_spent_budget_stops_the_run_and_keeps_what_was_committed(model, grid, tmp_path) -> None:
    needs("claude")
    commit = "echo kept > kept.txt && git add kept.txt && git commit -qm kept"
    dear = {"usage": {"input": 30_000, "output": 2_000}}  # 12 cents at list price
    steps = [{"text": "I commit.", "calls": [{"shell": commit}], **dear}]
    steps += [{"text": "On and on.", "calls": [{"shell": "sleep 0.1"}], **dear}] * 40
    stack = grid(model(steps), AGENTGRID_TREE_USD="0.60")
    repository = make_git_repository(tmp_path / "app")
    title = submit(stack, repository, "claude")
    (state, reason) = ended(stack, [title])[title]
    assert state == "blocked"
    assert "budget" in reason
    ((execution, ended_as, _, _),) = executions(stack, "claude")
    assert ended_as == "over_budget"
    spent, reserved, limit = rows(
        stack,
        "SELECT usd_spent_micros, usd_reserved_micros, usd_limit_micros FROM coordinator_envelope WHERE kind = 'tree'",
    )[0]
    assert 0 < spent <= limit + 200_000  # one call in flight
    assert reserved == 0
    head = json.loads(rows(stack, "SELECT result FROM grid_execution WHERE id = ?", execution)[0][0])["head"]
    shown = subprocess.run(
        ["git", "--git-dir", next(iter((stack.state_dir / "repositories").glob("*.git"))), "show", f"{head}:kept.txt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.stdout == "kept\n", shown.stderr


def test_tools_out_of_reach_fail_the_run_although_the_program_is_content(model, grid, tmp_path) -> None:
    needs("claude", "codex")
    upstream = model([WORKS[0], WORKS[2]])
    # The address of the grid leads nowhere, so the model is told of by options.
    stack = grid(
        upstream,
        AGENTGRID_AGENT_URL="http://127.0.0.1:9",
        GATEWAY_PROVIDERS="",
        AGENTGRID_AGENT_ENV_ALLOW="ANTHROPIC_API_KEY,OPENAI_API_KEY",
        ANTHROPIC_API_KEY="a-key",
        OPENAI_API_KEY="a-key",
    )
    repository = make_git_repository(tmp_path / "app")
    titles = [
        submit(stack, repository, "claude", f"base_url={upstream.url}"),
        submit(stack, repository, "codex", f"base_url={upstream.url}/v1"),
    ]
    states = ended(stack, titles)
    assert {state for state, _ in states.values()} == {"failed"}, states
    for name in ("claude", "codex"):
        ((_, _, reason, _),) = executions(stack, name)
        assert "mcp" in reason.lower() or "tools" in reason.lower(), reason


def test_a_cancel_in_the_middle_of_a_shell_command_leaves_no_process(model, grid, tmp_path) -> None:
    needs(*PINS)
    mark = f"47.{os.getpid()}"
    # Again and again: Codex leaves a command running in the background after ten seconds. Claude refuses a bare `sleep`.
    stack = grid(model([{"text": "I wait.", "calls": [{"shell": f"while true; do sleep {mark}; done"}]}] * 30))
    repository = make_git_repository(tmp_path / "app")
    titles = [submit(stack, repository, name) for name in PINS]

    def sleeping() -> list[psutil.Process]:
        return [process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or [])]

    def places() -> set[str]:
        found = set()
        for process in sleeping():
            with contextlib.suppress(psutil.Error):
                found.add(process.cwd())
        return found

    stack.wait_until(lambda: len(places()) == len(PINS), "each has its command running", timeout=90)
    for number in range(1, len(PINS) + 1):
        stack.manage("cancel", str(number), "--yes")
    ended(stack, titles, timeout=60)
    deadline = time.monotonic() + 10
    while sleeping() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not sleeping()
    assert not [process for process in stack.processes() if Path(process.name()).name in PINS]


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_a_run_that_a_shutdown_took_goes_on_with_its_conversation(model, grid, tmp_path, name) -> None:
    """The worker is stopped in the middle of a command; the next run begins with what was said and done before."""
    needs(name)
    gate = tmp_path / "gate"
    steps: list[Json] = [
        {"text": "I write it.", "calls": [{"shell": "echo hello > hello.txt"}]},
        {"text": "I wait.", "calls": [{"shell": f"touch {gate}; while [ -e {gate} ]; do sleep 0.1; done"}]},
        *[{"text": "All is done."}] * 3,  # it had changed everything before it was stopped
    ]
    upstream = model(steps)
    stack = grid(upstream)
    title = submit(stack, make_git_repository(tmp_path / "app"), name)
    stack.wait_until(gate.exists, "the agent waits in a command", timeout=90)
    stack.terminate("executions")
    stack.wait_until(lambda: [run[1] for run in executions(stack, name)].count("interrupted"), "it was interrupted")
    gate.unlink()
    before = len(upstream.requests)
    stack.start("executions")
    assert ended(stack, [title])[title][0] == "done", executions(stack, name)
    ((first, _, _, _), (second, state, _, _)) = sorted(executions(stack, name), key=lambda run: run[1] == "succeeded")
    assert state == "succeeded"
    (resumed,) = events(stack, second, "agent.resumed")
    assert resumed["from"].replace("-", "") == first and resumed["session"]
    asked = json.dumps(upstream.requests[before]["body"])
    assert "I write it." in asked and "You were stopped in the middle of this work" in asked
    assert asked.count("I wait.") == 1


def test_an_edit_of_a_file_that_another_agent_has_locked_is_blocked(model, grid, tmp_path) -> None:
    needs("claude")
    change = {"file_path": "README.md", "old_string": "hello", "new_string": "bye", "replace_all": False}
    upstream = model(
        [
            {"text": "I read it.", "calls": [{"tool": "Read", "input": {"file_path": "README.md"}}]},
            {"text": "I change it.", "calls": [{"tool": "Edit", "input": change}]},
            {"text": "Somebody has it; I leave it.", "calls": [{"shell": "echo x > other.txt"}]},
            {"text": "Done elsewhere."},
        ]
    )
    stack = grid(upstream)
    repository = make_git_repository(tmp_path / "app")
    go = tmp_path / "go"
    hold = f"gridctl acquire_lock --path README.md && until [ -e {go} ]; do sleep 0.2; done; echo held > held.txt"
    holder = "Hold the file"
    stack.manage("submit", "--repo", str(repository), "--title", holder, "--agent", "command", "--command", hold)
    held = "SELECT 1 FROM grid_filelock WHERE state = 'held' AND pattern = 'README.md'"
    stack.wait_until(lambda: rows(stack, held), "the file is locked", timeout=60)
    title = submit(stack, repository, "claude")
    states = ended(stack, [title])
    go.touch()
    assert states[title][0] == "done", states
    ((execution, *_),) = executions(stack, "claude")
    blocked = [body for body in events(stack, execution, "tool.result") if not body.get("ok")]
    assert len(blocked) == 1
    assert "README.md is locked by agent" in json.dumps(blocked[0])
    assert ended(stack, [holder])[holder][0] == "done"
