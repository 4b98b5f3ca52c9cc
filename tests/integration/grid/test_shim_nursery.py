"""The nursery: one for each host directory, outliving those who start it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grid import processes
from grid.processes import ShimState, StartCode
from grid.shim import calling, reaper
from tests.hostile.shim_runs import NEEDED_BY_PYTHON, ROOT, Runs, alive, state_letter, wait_for

PROJECT = Path(processes.__file__).resolve().parent.parent
STARTER = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path; from grid import processes
host, specs = Path(sys.argv[2]), sys.argv[3:]
print(*[processes.start_shim(host_dir=host, spec_path=Path(spec), python=sys.executable).name for spec in specs], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def runs() -> Iterator[Runs]:
    with Runs() as found:
        yield found


def start_worker(runs: Runs, *specs: Path) -> subprocess.Popen[str]:
    """A process of its own that starts shims and then waits."""
    command = [sys.executable, "-c", STARTER, str(PROJECT), str(runs.host), *map(str, specs)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end_worker(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()


def serving(runs: Runs) -> list[int]:
    """Nurseries of this directory that live."""
    marks = [b"nursery.py", str(runs.host).encode()]
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if all(mark in command for mark in marks) and os.getsid(int(name)) == int(name) and alive(int(name)):
            found.append(int(name))
    return found


def test_nursery_and_shims_outlive_the_worker_that_started_them(runs: Runs) -> None:
    first, second = runs.make("hang"), runs.make("ok")
    worker = start_worker(runs, first.path)
    assert worker.stdout
    assert worker.stdout.readline() == "RUNNING\n"
    nursery = processes.nursery_pid(runs.host)
    end_worker(worker)
    assert alive(first.said("start").agent)
    assert second.start() == StartCode.RUNNING
    assert processes.nursery_pid(runs.host) == nursery
    first.tell("kill")
    assert first.exit()["signal"] == signal.SIGKILL


def test_shims_outlive_a_killed_nursery_and_a_new_one_is_started(runs: Runs) -> None:
    old = runs.begin("hang").said("start")
    nursery = runs.nursery()
    os.kill(nursery, signal.SIGKILL)
    wait_for(lambda: not alive(nursery), "dead nursery")
    assert processes.nursery_pid(runs.host) is None
    new = runs.begin("hang").said("start")
    assert runs.nursery() != nursery
    for run in (old, new):
        answer = run.tell("ping")
        assert answer
        assert answer["ok"]
        run.tell("kill")
        run.exit()


def test_of_two_racing_starters_one_nursery_remains_and_both_use_it(runs: Runs) -> None:
    all_runs = [runs.make("ok") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda run: run.start(), all_runs))
    assert codes == [StartCode.RUNNING] * 8
    for run in all_runs:
        assert run.exit()["code"] == 0
    assert serving(runs) == [processes.nursery_pid(runs.host)]


def test_one_of_many_starts_of_one_directory_wins(runs: Runs) -> None:
    run = runs.make("hang")
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(lambda _: run.start(), range(8)))
    assert codes == [StartCode.RUNNING] + [StartCode.ALREADY_USED] * 7
    assert len(run.kinds("start")) == 1
    run.tell("kill")
    run.exit()


def test_sigterm_retires_the_nursery_until_its_shims_are_gone(runs: Runs) -> None:
    run = runs.begin("hang").said("start")
    nursery = runs.nursery()
    for signum in (signal.SIGINT, signal.SIGHUP):
        os.kill(nursery, signum)
    assert runs.nursery() == nursery
    os.kill(nursery, signal.SIGTERM)
    wait_for(lambda: processes.nursery_pid(runs.host) is None, "free socket")
    assert alive(nursery)
    successor = runs.nursery()
    assert successor != nursery
    os.kill(run.pid, signal.SIGKILL)  # the retired one still buries
    wait_for(lambda: not run.left(), "end of the agent", 1)
    wait_for(lambda: not alive(nursery), "end of the retired nursery")
    assert alive(successor)


def test_an_idle_nursery_ends_by_itself(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "NURSERY_IDLE_SECONDS", 0.4)
    nursery = runs.nursery()
    run = runs.begin("hang").said("start")
    time.sleep(0.6)
    assert alive(nursery)  # not idle: it has a shim
    run.tell("kill")
    run.exit()
    wait_for(lambda: not alive(nursery), "end of the idle nursery", 3)
    assert not (runs.host / "nursery.sock").exists()
    assert runs.begin("ok").exit()["code"] == 0


def test_a_nursery_of_older_sources_is_replaced_and_keeps_its_shims(runs: Runs, tmp_path: Path) -> None:
    old_sources = tmp_path / "old"
    shutil.copytree(PROJECT / "grid/shim", old_sources / "grid/shim", ignore=shutil.ignore_patterns("__pycache__"))
    (old_sources / "grid/__init__.py").touch()
    with (old_sources / "grid/shim/limits.py").open("a") as source:
        source.write("# of yesterday\n")
    runs.host.mkdir()
    old_nursery = old_sources / "grid/shim/nursery.py"
    subprocess.run([sys.executable, "-I", "-S", old_nursery, runs.host, "60"], check=True, env=NEEDED_BY_PYTHON)
    old = processes.nursery_pid(runs.host)
    assert old
    runs.pids.add(old)
    old_version = (calling.ask(str(runs.host), {"op": "ping"}, 2) or {})["version"]
    kept = runs.make("hang")
    request = {"op": "start", "spec": str(kept.path), "version": old_version}
    assert calling.ask(str(runs.host), request, 5) == {"code": 0}
    assert runs.begin("ok").exit()["code"] == 0
    assert processes.nursery_pid(runs.host) not in (old, None)
    assert alive(old)
    kept.said("start").tell("kill")
    kept.exit()
    wait_for(lambda: not alive(old), "end of the old nursery")


def test_a_stopped_nursery_is_woken(runs: Runs) -> None:
    nursery = runs.nursery()
    os.kill(nursery, signal.SIGSTOP)
    wait_for(lambda: state_letter(nursery) == "T", "stopped nursery")
    run = runs.make("ok")
    assert run.start(timeout=4) == StartCode.RUNNING
    assert run.exit()["code"] == 0
    assert runs.nursery() == nursery


def test_without_a_nursery_a_shim_starts_cold(runs: Runs) -> None:
    runs.host.write_text("not a directory")
    run = runs.make("ok")
    assert run.start() == StartCode.RUNNING
    assert run.exit()["code"] == 0
    runs.host.unlink()


def test_an_agent_cannot_use_the_nursery(runs: Runs) -> None:
    runs.nursery()
    loot = runs.make("ok")
    run = runs.begin("ask-nursery", str(runs.host), str(loot.path), processes.shim_version())
    run.exit()
    assert "may not ask" in json.loads(run.lines()[0])["answer"]["error"]
    assert processes.shim_state(loot.dir) is ShimState.ABSENT


def test_hostile_callers_do_not_hold_up_others(runs: Runs) -> None:
    nursery = runs.nursery()
    silent = [calling.connect(str(runs.host), 2) for _ in range(100)]
    with contextlib.ExitStack() as stack:
        for each in filter(None, silent):
            stack.enter_context(each)
        call_badly(runs, nursery)


def call_badly(runs: Runs, nursery: int) -> None:
    """Nonsense, and a caller that gives up."""
    for request in (b"", b"{", b"[]", b'{"op": "dance"}', b'{"op": "start"}', b"[" * 60_000):
        client = calling.connect(str(runs.host), 2)
        assert client
        with client:
            client.send(request)
    gone = runs.make("ok")
    client = calling.connect(str(runs.host), 2)
    assert client
    with client:
        os.kill(nursery, signal.SIGSTOP)
        client.send(json.dumps({"op": "start", "spec": str(gone.path), "version": processes.shim_version()}).encode())
    os.kill(nursery, signal.SIGCONT)  # that caller has given up: nothing is started for it
    assert runs.begin("ok").exit()["code"] == 0
    assert processes.shim_state(gone.dir) is ShimState.ABSENT
    assert runs.nursery() == nursery


def test_the_nursery_has_no_environment_and_nothing_open_of_its_starter(runs: Runs) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    nursery = runs.nursery()
    run = runs.begin("hang").said("start")
    os.close(writer)
    assert os.read(reader, 1) == b""  # everybody else has closed it, or this would wait
    os.close(reader)
    assert (runs.host / "nursery.sock").stat().st_mode & 0o777 == 0o600
    if ROOT:
        variables = {line.partition("=")[0] for line in Path(f"/proc/{nursery}/environ").read_text().split("\0")}
        assert variables <= {"", "LD_LIBRARY_PATH"}
        own = int(Path("/proc/self/oom_score_adj").read_text())  # which not every root may lower
        assert int(Path(f"/proc/{nursery}/oom_score_adj").read_text()) <= own
        assert Path(f"/proc/{run.agent}/oom_score_adj").read_text() == "500\n"
    assert reaper.is_below(run.agent, nursery)
