"""Whatever is killed, in whatever order: work goes on or starts again, never twice at once, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.factories import git, make_git_repository
from tests.services.stack import Stack

pytestmark = pytest.mark.timeout(240)
COUNT_AND_WAIT = 'echo "$$" >> {marks}/starts; sleep {seconds}; echo done > work.txt'
WAIT_THE_FIRST_TIME = (
    'echo "$$" >> {marks}/starts; if [ "$(wc -l < {marks}/starts)" = 1 ]; then sleep 300; fi; echo done > work.txt'
)
TWO_STEPS = (
    "echo x >> {marks}/starts; if [ -e half.txt ]; then echo rest >> half.txt; else echo half > half.txt; sleep 60; fi"
)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Where agents leave traces that no crash undoes."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def submit(stack: Stack, tmp_path: Path, command: str) -> Path:
    repository = make_git_repository(tmp_path / "app")
    stack.manage("submit", "--repo", str(repository), "--title", "Crash", "--agent", "command", "--command", command)
    return repository


def starts(marks: Path) -> list[str]:
    file = marks / "starts"
    return file.read_text().split() if file.exists() else []


def runs(stack: Stack) -> list[dict[str, Any]]:
    """Oldest first."""
    return list(reversed(stack.manage_json("explain", "1")["executions"]))


def agent(stack: Stack) -> dict[str, Any]:
    return stack.manage_json("tree", "1")["agents"][0]


def wait_done(stack: Stack, *, timeout: float = 60) -> None:
    stack.wait_until(lambda: agent(stack)["state"] == "done", "the agent is done", timeout=timeout, pause=0.3)


def assert_sound(stack: Stack) -> None:
    assert stack.manage_json("doctor")["violations"] == []


def shim_pid(stack: Stack) -> int:
    files = list(stack.state_dir.glob("runs/*/phases/agent/shim.json"))
    return json.loads(max(files, key=lambda path: path.stat().st_mtime).read_text())["pid"]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_agents_outlive_a_killed_worker_and_the_next_one_adopts_them(new_stack, tmp_path, marks):
    stack = new_stack().start()
    repository = submit(stack, tmp_path, COUNT_AND_WAIT.format(marks=marks, seconds=6))
    stack.wait_until(lambda: starts(marks), "the agent started")
    stack.kill9("executions")
    assert is_alive(int(starts(marks)[0]))
    stack.start("executions")
    wait_done(stack)
    assert len(starts(marks)) == 1
    assert [run["state"] for run in runs(stack)] == ["succeeded"]
    assert git(repository, "show", "agent/1-crash:work.txt") == "done"
    assert_sound(stack)


def test_an_agent_that_ended_while_no_worker_lived_is_finished_by_the_next_one(new_stack, tmp_path, marks):
    stack = new_stack().start()
    submit(stack, tmp_path, COUNT_AND_WAIT.format(marks=marks, seconds=2))
    stack.wait_until(lambda: starts(marks), "the agent started")
    stack.kill9("executions")
    stack.wait_until(lambda: not is_alive(int(starts(marks)[0])), "the agent ended by itself")
    stack.start("executions")
    wait_done(stack)
    assert len(starts(marks)) == 1 and [run["state"] for run in runs(stack)] == ["succeeded"]


def test_a_killed_shim_takes_everything_with_it_and_the_work_is_tried_again(new_stack, tmp_path, marks):
    stack = new_stack().start()
    daemon = f"setsid env -i sleep 4711 & echo $! >> {marks}/daemons"
    submit(stack, tmp_path, f'{daemon}; if [ "$(wc -l < {marks}/daemons)" = 1 ]; then sleep 60; fi; echo y > y.txt')
    stack.wait_until(
        lambda: (marks / "daemons").exists() and list(stack.state_dir.glob("runs/*/phases/agent/shim.json")), "it runs"
    )
    time.sleep(0.3)
    stack.manage("explain", "1")
    os.kill(shim_pid(stack), signal.SIGKILL)
    began = time.monotonic()
    first = int((marks / "daemons").read_text().split()[0])
    stack.wait_until(lambda: not is_alive(first), "the daemon is gone", timeout=5, pause=0.02)
    assert time.monotonic() - began < 5
    wait_done(stack)
    assert [run["state"] for run in runs(stack)] == ["lost", "succeeded"]
    assert agent(stack)["attempts"] == 0
    assert_sound(stack)


def test_after_a_power_cut_everything_converges(new_stack, tmp_path, marks):
    stack = new_stack().start()
    repository = submit(stack, tmp_path, WAIT_THE_FIRST_TIME.format(marks=marks))
    stack.wait_until(lambda: starts(marks), "the agent started")
    stack.kill9_everything()
    began = time.monotonic()
    stack.start()
    wait_done(stack, timeout=180)
    assert time.monotonic() - began < 180
    assert [run["state"] for run in runs(stack)] == ["lost", "succeeded"]
    assert git(repository, "show", "agent/1-crash:work.txt") == "done"
    assert_sound(stack)


def test_a_machine_that_is_shut_down_gently_checkpoints_and_spends_no_attempt(new_stack, tmp_path, marks):
    stack = new_stack().start()
    repository = submit(stack, tmp_path, TWO_STEPS.format(marks=marks))
    stack.wait_until(lambda: starts(marks), "the agent started")
    time.sleep(0.5)
    began = time.monotonic()
    stack.terminate_everything()
    stack.wait_until(lambda: not stack.processes(), "everything has left", timeout=30)
    assert time.monotonic() - began < 25
    # The next run may be queued by now, but nothing starts on a machine that goes away.
    assert [run["state"] for run in runs(stack)] in (["interrupted"], ["interrupted", "queued"])
    assert len(starts(marks)) == 1
    stack.start()
    wait_done(stack)
    assert [run["state"] for run in runs(stack)] == ["interrupted", "succeeded"]
    assert git(repository, "show", "agent/1-crash:half.txt") == "half\nrest"
    shown = agent(stack)
    assert (shown["attempts"], shown["crashes"]) == (0, 0)
    tree = next(e for e in stack.manage_json("explain", "1")["envelopes"] if e["kind"] == "tree")
    assert (tree["executions_spent"], tree["executions_reserved"]) == (1, 0)
    assert_sound(stack)


def test_a_stopped_worker_that_wakes_up_too_late_kills_and_writes_nothing(new_stack, tmp_path, marks):
    """SIGSTOP of the host: the shim fences itself, the sweep calls the row lost, the old host may not bring it back."""
    short = {"AGENTGRID_LEASE_SECONDS": "8", "AGENTGRID_HEARTBEAT_SECONDS": "1"}
    stack = new_stack(extra_env=short).start()
    submit(stack, tmp_path, COUNT_AND_WAIT.format(marks=marks, seconds=300))
    stack.wait_until(lambda: starts(marks), "the agent started")
    time.sleep(1.5)
    os.kill(stack.pid("executions"), signal.SIGSTOP)
    stack.wait_until(lambda: not is_alive(int(starts(marks)[0])), "the shim fenced its agent", timeout=12)
    stack.wait_until(lambda: runs(stack)[0]["state"] == "lost", "the sweep took the row away", timeout=40, pause=0.5)
    events = stack.manage_json("tree", "1", "--timeline")["timeline"]
    os.kill(stack.pid("executions"), signal.SIGCONT)
    stack.wait_until(lambda: len(starts(marks)) == 2, "it is tried again", timeout=30)
    assert runs(stack)[0]["state"] == "lost" and len(runs(stack)) == 2
    assert len(stack.manage_json("tree", "1", "--timeline")["timeline"]) > len(events)
    stack.manage("cancel", "1", "--yes")
    stack.wait_until(lambda: not is_alive(int(starts(marks)[1])), "the cancelled agent is gone", timeout=20)
    stack.wait_until(lambda: runs(stack)[1]["state"] == "cancelled", "the row says so")
    assert_sound(stack)


def test_lost_messages_cost_time_only(new_stack, tmp_path, marks):
    stack = new_stack()
    submit(stack, tmp_path, COUNT_AND_WAIT.format(marks=marks, seconds=0))
    queue = stack.state_dir / "broker" / "queue"
    thrown_away = [path.unlink() for path in queue.glob("*.msg")]
    assert thrown_away
    stack.start()
    wait_done(stack)
    assert len(starts(marks)) == 1


def test_a_work_that_kills_its_runner_three_times_is_quarantined(new_stack, tmp_path, marks):
    stack = new_stack().start()
    submit(stack, tmp_path, f"echo x >> {marks}/starts; kill -9 $PPID; sleep 60")
    stack.wait_until(lambda: agent(stack)["state"] == "failed", "it is given up", timeout=90, pause=0.3)
    assert [run["state"] for run in runs(stack)] == ["lost", "lost", "quarantined"]
    assert "quarantined" in agent(stack)["blocked_reason"] and len(starts(marks)) == 3
    assert_sound(stack)
