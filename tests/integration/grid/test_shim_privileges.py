"""What an agent can see and do beside its work: nothing of ours."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grid import processes
from grid.shim import calling
from tests.hostile.shim_runs import FAKE_AGENT, NEEDED_BY_PYTHON, ROOT, Run, Runs, wait_for

CANARY = "canary-5f0c1e"
AGENT_UID = 20002
HOST = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path; from grid import processes; from grid.shim import reaper
if sys.argv[4] == "hide":
    reaper.prctl(reaper.PR_SET_DUMPABLE, 0)
if sys.argv[4] == "without SETPCAP":
    reaper.prctl(reaper.PR_CAPBSET_DROP, 8)
print(processes.start_shim(host_dir=Path(sys.argv[2]), spec_path=Path(sys.argv[3]), python=sys.executable).name, flush=True)
sys.stdin.read()
"""
needs_root = pytest.mark.skipif(not ROOT, reason="only root can give an agent a user of its own, or lose capabilities")


@pytest.fixture
def runs() -> Iterator[Runs]:
    with Runs() as found:
        yield found


def python_for_everybody() -> str:
    """An interpreter that a user of no group can start."""
    for python in filter(None, (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin"))):
        command = ["/bin/sh", "-c", 'exec "$0" -I -S -c ""', python]
        done = subprocess.run(command, user=AGENT_UID, group=AGENT_UID, extra_groups=[], cwd="/", capture_output=True)
        if done.returncode == 0:
            return python
    pytest.skip("no Python here that another user may start")


def with_own_user(runs: Runs, mode: str, *args: str, **spec: Any) -> Run:
    agent = runs.dir / "fakeagent.py"
    shutil.copy(FAKE_AGENT, agent)
    agent.chmod(0o644)
    return runs.make(mode, *args, uid=AGENT_UID, agent_python=python_for_everybody(), agent=agent, **spec)


def start_from_a_host_with_a_secret(runs: Runs, run: Run, hide: str = "hide") -> subprocess.Popen[str]:
    """A process like our worker: a secret in its environment, not dumpable."""
    command = [sys.executable, "-c", HOST, str(Path(processes.__file__).resolve().parent.parent), str(runs.host)]
    host = subprocess.Popen(
        [*command, str(run.path), hide],
        env={"PATH": os.environ["PATH"], "HOST_SECRET": CANARY, **NEEDED_BY_PYTHON},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert host.stdout
    assert host.stdout.readline() == "RUNNING\n"
    return host


def hunt(runs: Runs, run: Run, hide: str = "hide") -> list[str]:
    """Where an agent finds the secret of the living host; nothing else of ours may reach it either."""
    host = start_from_a_host_with_a_secret(runs, run, hide)
    try:
        assert run.exit()["code"] == 0
    finally:
        host.kill()
        host.communicate()
    facts = json.loads(run.lines()[0])
    assert facts["fds"] == [0, 1, 2]
    assert set(facts["env"]) <= {"HOME", "LANG", "LC_CTYPE", "PATH", *NEEDED_BY_PYTHON}
    assert facts["parent_fds"] == "Permission denied"
    return list(facts["found"])


def test_a_secret_in_our_environment_is_not_found(runs: Runs) -> None:
    """As root this is an agent with uid 0 whose capabilities were dropped; else one of our own user."""
    assert hunt(runs, runs.make("secrets", CANARY.encode().hex())) == []


@needs_root
def test_an_agent_with_its_own_user_finds_no_secret(runs: Runs) -> None:
    assert hunt(runs, with_own_user(runs, "secrets", CANARY.encode().hex())) == []


@needs_root
def test_the_search_does_find_what_is_not_protected(runs: Runs) -> None:
    """Otherwise the tests above would prove nothing."""
    run = runs.make("secrets", CANARY.encode().hex(), drop_caps=False)
    host = start_from_a_host_with_a_secret(runs, run, "show")
    run.exit()
    host.kill()
    host.communicate()
    assert f"/proc/{host.pid}/environ" in json.loads(run.lines()[0])["found"]


@needs_root
def test_an_agent_of_root_has_no_capability_and_cannot_regain_one(runs: Runs) -> None:
    run = runs.begin("ok", argv=["/bin/sh", "-c", "grep -E 'Cap|NoNewPrivs' /proc/self/status; id -u; chown 1 ."])
    assert run.exit()["code"] == 1
    *sets, no_new_privileges, uid = run.lines()
    assert {line.split()[1] for line in sets} == {"0000000000000000"}
    assert len(sets) == 5
    assert no_new_privileges.split()[1] == "1"
    assert uid == "0"


@needs_root
def test_capabilities_are_gone_also_where_a_container_keeps_the_bounding_set(runs: Runs) -> None:
    run = runs.make("ok", argv=["/bin/sh", "-c", "exec /bin/grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status"])
    host = start_from_a_host_with_a_secret(runs, run, "without SETPCAP")
    run.exit()
    host.kill()
    host.communicate()
    assert {line.split()[1] for line in run.lines()} == {"0000000000000000"}


@pytest.mark.parametrize("by", ["nursery", "cold"])
def test_a_shim_is_closed_to_its_own_user(runs: Runs, by: str) -> None:
    """The kernel gives the files in /proc/PID of a process that is not dumpable to root."""
    python = sys.executable
    user: dict[str, Any] = {}
    run = runs.make("hang")
    runs.host.mkdir()
    if ROOT:  # become a user, for whom there is a difference
        sources = runs.dir / "sources"
        shutil.copytree(processes.SHIM, sources / "grid/shim", ignore=shutil.ignore_patterns("__pycache__"))
        (sources / "grid/__init__.py").touch()
        python, user = python_for_everybody(), {"user": AGENT_UID, "group": AGENT_UID, "extra_groups": []}
        run = with_own_user(runs, "hang")
        run.path = processes.write_spec(run.dir, dataclasses.replace(run.spec, uid=None, gid=None))
        for path in (run.dir, run.path, run.dir / "prompt"):
            os.chown(path, AGENT_UID, AGENT_UID)
        os.chown(runs.host, AGENT_UID, AGENT_UID)
    else:
        sources = processes.SHIM.parent.parent
    command = [python, "-I", "-S", str(sources / "grid/shim")]
    if by == "cold":
        subprocess.run(
            [*command[:-1], f"{command[-1]}/__main__.py", run.path], check=True, **user, env=NEEDED_BY_PYTHON
        )
    else:
        subprocess.run(
            [*command[:-1], f"{command[-1]}/nursery.py", runs.host], check=True, **user, env=NEEDED_BY_PYTHON
        )
        version = (calling.ask(str(runs.host), {"op": "ping"}, 2) or {})["version"]
        request = {"op": "start", "spec": str(run.path), "version": version}
        assert calling.ask(str(runs.host), request, 5) == {"code": 0}
    assert Path(f"/proc/{run.said('start').agent}/environ").stat().st_uid != 0
    assert Path(f"/proc/{run.pid}/environ").stat().st_uid == 0
    run.tell("kill")
    run.exit()


@needs_root
def test_an_agent_with_its_own_user_works_in_its_workspace_alone(runs: Runs) -> None:
    run = with_own_user(runs, "ok")
    assert run.start() == 0
    assert run.exit()["code"] == 0
    assert (run.work / "answer.txt").stat().st_uid == AGENT_UID
    spool = f"cat {run.dir}/spool.jsonl {run.dir}/spec.json || echo refused; id -Gn"
    thief = runs.begin("ok", uid=AGENT_UID, argv=["/bin/sh", "-c", spool])
    thief.exit()
    assert thief.lines()[0] == "refused"


@needs_root
@pytest.mark.parametrize("mode", ["kill-parent", "stop-supervisor"])
def test_an_agent_with_its_own_user_cannot_touch_its_shim(runs: Runs, mode: str) -> None:
    run = with_own_user(runs, mode)
    assert run.start() == 0
    assert '"refused": true' in run.said("refused").lines()[-1]
    assert run.exit()["code"] == 0


@needs_root
def test_a_fork_bomb_with_its_own_user_stays_within_its_limit(runs: Runs) -> None:
    run = with_own_user(runs, "forkbomb", rlimits={"nproc": 60, "nofile": 256, "core": 0})
    assert run.start() == 0
    wait_for(lambda: len(run.said("start").left()) > 40, "explosion")
    assert len(run.left()) <= 60
    run.tell("kill", timeout=10)
    assert run.exit()["signal"] == signal.SIGKILL
