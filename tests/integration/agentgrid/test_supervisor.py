"""The supervisor with real processes: restart, stop, its own death, a second one on the same folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgrid.supervisor import ROOT

HARNESS = """
import json, os, sys
from agentgrid.state_dir import lock_state_dir
from agentgrid.supervisor import ProcessSpec, Supervisor
from pathlib import Path
folder, stop_seconds, *programs = sys.argv[1:]
lock_state_dir(Path(folder))
specs = [ProcessSpec(name=f"p{i}", command=(sys.executable, "-c", text)) for i, text in enumerate(programs)]
def report(event):
    print(json.dumps({"event": event.kind, "process": event.process, **event.facts}), flush=True)
sys.exit(Supervisor(specs, environment=dict(os.environ), report=report, stop_seconds=float(stop_seconds)).run())
"""
SLEEPER = "import time; print('here', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"


class Supervised:
    """A supervisor in a process of its own, and what it reported."""

    def __init__(self, folder: Path, programs: tuple[str, ...], stop_seconds: float) -> None:
        self.output = folder / "events.jsonl"
        command = [sys.executable, "-c", HARNESS, str(folder), str(stop_seconds), *programs]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, start_new_session=True)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.output.read_text().splitlines() if line.endswith("}")]
        return [event for event in found if kind in ("", event["event"])]

    def wait_for(self, kind: str, count: int = 1, timeout: float = 15) -> list[dict[str, Any]]:
        deadline = time.monotonic() + timeout
        while len(found := self.events(kind)) < count:
            assert time.monotonic() < deadline, f"no {count} x {kind} in {self.events()}"
            time.sleep(0.02)
        return found


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    started = []

    def start(*programs: str, stop_seconds: float = 10) -> Supervised:
        started.append(Supervised(tmp_path, tuple(map(textwrap.dedent, programs)), stop_seconds))
        return started[-1]

    yield start
    for one in started:
        pids = [event["pid"] for event in one.events("started")]
        one.process.kill()
        one.process.wait()
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_gone(pids: list[int], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"{alive} live on"
        time.sleep(0.02)


def test_a_dead_process_is_started_again_after_a_pause(supervise) -> None:
    one = supervise(SLEEPER)
    first = one.wait_for("output") and one.events("started")[0]["pid"]
    os.kill(first, signal.SIGKILL)
    second = one.wait_for("started", 2)[1]["pid"]
    assert second != first
    assert one.events("exited") == [{"event": "exited", "process": "p0", "pid": first, "signal": 9}]
    assert one.events("restarting") == [{"event": "restarting", "process": "p0", "seconds": 1.0}]


def test_a_process_that_cannot_live_is_tried_ever_more_rarely(supervise) -> None:
    one = supervise("print('last words', end=''); raise SystemExit(3)")
    pauses = [event["seconds"] for event in one.wait_for("restarting", 3)]
    assert pauses == [1.0, 2.0, 4.0]
    assert {event["code"] for event in one.events("exited")} == {3}
    assert one.events("output")[0]["line"] == "last words"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_everything_and_exits_0(supervise, number: signal.Signals) -> None:
    one = supervise(SLEEPER, SLEEPER)
    one.wait_for("output", 2)
    pids = [event["pid"] for event in one.events("started")]
    one.process.send_signal(number)
    assert one.process.wait(10) == 0
    wait_gone(pids, timeout=0.1)
    assert one.events()[-1] == {"event": "stopped", "process": "", "clean": True}
    assert one.events("restarting") == []


def test_ctrl_c_in_a_terminal_reaches_only_the_supervisor(supervise) -> None:
    one = supervise("""
        import signal, sys, time
        signal.signal(signal.SIGINT, lambda *_: print("BAD", flush=True))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        print(1, flush=True)
        time.sleep(9)
    """)
    one.wait_for("output")
    os.killpg(one.process.pid, signal.SIGINT)  # a terminal signals the whole foreground group
    assert one.process.wait(10) == 0
    assert [event["line"] for event in one.events("output")] == ["1"]


def test_a_deaf_process_is_killed_when_time_is_up(supervise) -> None:
    one = supervise(DEAF, stop_seconds=0.5)
    pid = one.wait_for("output") and one.events("started")[0]["pid"]
    one.process.terminate()
    assert one.process.wait(10) == 1
    wait_gone([pid], timeout=0.1)
    assert one.events("killed")


def test_a_second_ctrl_c_does_not_wait(supervise) -> None:
    one = supervise(DEAF, stop_seconds=600)
    one.wait_for("output")
    one.process.send_signal(signal.SIGINT)
    one.wait_for("stopping")
    assert one.process.poll() is None
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(10) == 1


def test_kill_9_of_the_supervisor_takes_its_processes_down(supervise) -> None:
    one = supervise(SLEEPER, SLEEPER)
    one.wait_for("output", 2)
    pids = [event["pid"] for event in one.events("started")]
    one.process.kill()
    wait_gone(pids)


def test_two_supervisors_cannot_share_a_folder(supervise, tmp_path: Path) -> None:
    one = supervise(SLEEPER)
    one.wait_for("output")
    second = subprocess.run(
        [sys.executable, "-c", HARNESS, str(tmp_path), "1", SLEEPER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert second.returncode == 1
    assert f"as pid {one.process.pid}" in second.stderr
    assert "AGENTGRID_STATE_DIR" in second.stderr
    one.process.kill()
    one.process.wait()
    third = supervise(SLEEPER)  # the lock of a killed one is free
    third.wait_for("output")


def test_long_lines_and_bytes_that_are_no_text_pass(supervise) -> None:
    one = supervise(
        "import sys, time; sys.stdout.buffer.write(b'\\xff\\x00' * 100_000 + b'\\nend\\n'); sys.stdout.flush(); time.sleep(60)"
    )
    deadline = time.monotonic() + 10
    while not (lines := one.events("output")) or lines[-1]["line"] != "end":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert max(len(event["line"]) for event in lines) <= 2 * 65_536
    assert sum(len(event["line"]) for event in lines[:-1]) == 200_000
