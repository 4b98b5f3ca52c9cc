"""The stack that acceptance tests use: real workers, every broker, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest

from agentgrid.supervisor import ROOT
from tests.services.stack import Stack


@pytest.mark.parametrize(("database", "broker"), [("sqlite", "gridfs"), ("postgres", "sqs"), ("postgres", "redis")])
def test_workers_start_take_messages_and_stop(new_stack: Callable[..., Stack], database: str, broker: str) -> None:
    stack = new_stack(database=database, broker=broker, extra_env={"LOG_LEVEL": "DEBUG"}).start()
    # Beat wakes `control`, which must take the sweep's messages; a message nobody takes would stay forever.
    stack.wait_until(lambda: "Task coordinator.sweep" in stack.logs("control"), "a sweep has run", timeout=40)
    assert stack.manage_json("prepare_broker", "--check") == {"problems": []}
    stack.terminate()
    assert stack.wait_until(lambda: stack.processes() == [], "all are gone", timeout=10)
    for name in ("control", "executions", "beat"):
        assert "Traceback" not in stack.logs(name)


def test_nothing_survives_a_stack(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack()
    stray = subprocess.Popen(["sleep", "600"], cwd=stack.state_dir, start_new_session=True, env={})
    named = subprocess.Popen(["sh", "-c", f"sleep 600; : {stack.state_dir}"], start_new_session=True, env={})
    stack.start("control")
    control = stack.pid("control")
    stack.kill9("control")
    assert not stack.is_running("control")
    stack.start("control")
    assert stack.pid("control") != control
    stack.close()
    assert stray.wait(5) == named.wait(5) == -signal.SIGKILL
    assert not stack.is_running("control")


def test_the_web_process_answers_and_hides_its_memory(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack().start("web")
    assert stack.http("/livez") == (200, "ok\n")
    assert stack.http("/readyz") == (200, "ready\n")
    status, body = stack.http("/healthz")
    assert (status, json.loads(body)) == (200, {"ok": True, "checks": {"database": [], "broker": [], "sweeps": []}})
    assert "admin" in stack.http("/")[1].lower()
    # A process that is not dumpable belongs to root in /proc, whoever runs it: others of its uid cannot look inside.
    if os.geteuid():
        with pytest.raises(PermissionError):
            psutil.Process(stack.pid("web")).environ()


def test_a_database_without_our_tables_is_not_ready(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(migrated=False).prepare_broker().start("web")
    status, body = stack.http("/readyz")
    assert status == 503
    assert "manage.py migrate" in body
    assert stack.http("/livez")[0] == 200


def test_up_runs_everything_and_stops_on_ctrl_c(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(migrated=False)
    command = [stack.python, "manage.py", "up", "--json", "--port", str(stack.port), "--slots", "2"]
    with (stack.folder / "up.log").open("wb") as log:
        up = subprocess.Popen(command, cwd=ROOT, env=stack.env, stdout=log, stderr=log, start_new_session=True)

    def events(kind: str) -> list[dict[str, str]]:
        lines = stack.logs("up").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    stack.wait_until(lambda: len(events("started")) == 4, "four processes", timeout=40)
    stack.wait_until(stack.web_answers, "web answers")
    (admin,) = events("admin_created")
    assert len(admin["password"]) >= 16
    second = stack.manage("up", check=False)
    assert second.returncode == 1
    assert f"pid {up.pid}" in second.stderr
    stack.wait_until(lambda: any("host started" in event["line"] for event in events("output")), "the host is there")
    time.sleep(1)
    os.killpg(up.pid, signal.SIGINT)
    assert up.wait(40) == 0
    assert stack.processes() == []
    assert [event["event"] for event in map(json.loads, stack.logs("up").splitlines())][-1] == "stopped"
    assert events("restarting") == []
