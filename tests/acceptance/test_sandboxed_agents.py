"""Whole runs in bwrap: honest work done, hostile agents ended, nothing of ours found, refusals in the log."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from grid.conf import conf
from grid.sandboxes.choosing import BACKENDS
from tests.factories import make_git_repository
from tests.hostile.arena import Arena, until_gone
from tests.hostile.shim_runs import FAKE_AGENT
from tests.services.cells import PRISONER
from tests.services.stack import Stack

pytestmark = pytest.mark.timeout(240)
CANARY = f"canary-{uuid4().hex}"
POLICY = """\
version: 1
limits:
  attempts: 1
  idle_seconds: {idle}
setup: ["test ! -e {outside} && echo set-up > set-up.txt"]
"""


@pytest.fixture(scope="module", autouse=True)
def _needs_bwrap() -> None:
    """CI installs it."""
    if why_not := BACKENDS["bwrap"].available(conf()):
        pytest.fail(why_not) if os.environ.get("CI") else pytest.skip(why_not)


@pytest.fixture(scope="module")
def arena(migrated_sqlite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A stack whose agents run in bwrap, with our secrets in its environment and its web process as the grid's address."""
    secrets = {"SECRET_KEY": CANARY, "ANTHROPIC_API_KEY": CANARY, "GITHUB_TOKEN": CANARY}
    fast = {"AGENTGRID_HEARTBEAT_SECONDS": "1", "AGENTGRID_LEASE_SECONDS": "20"}
    folder = tmp_path_factory.mktemp("repositories")
    stack = Stack(Path(tempfile.mkdtemp(prefix="ag-")), extra_env={"AGENTGRID_SANDBOX": "bwrap", **secrets, **fast})
    try:
        stack.env["AGENTGRID_AGENT_URL"] = f"http://127.0.0.1:{stack.port}"
        shutil.copy(migrated_sqlite, stack.state_dir / "agentgrid.sqlite3")
        made = Arena(stack.prepare_broker().start("control", "executions", "beat", "web"), folder)
        (folder / "outside").write_text(CANARY)
        urls = [f"http://127.0.0.1:{stack.port}/{path}" for path in ("livez", "admin/")]
        files = {
            "README.md": "hello\n",
            "fakeagent.py": FAKE_AGENT.read_text(),
            "prisoner.py": PRISONER.read_text(),
            "plan.json": json.dumps({"connect": ["evil.test:443"], "get": urls}),
        }
        # Long enough for honest work on a busy machine; short where an agent is to be ended for its silence.
        for name, idle in (("app", 100), ("impatient", 10)):
            files[".agentgrid.yml"] = POLICY.format(outside=folder / "outside", idle=idle)
            made.repositories[name] = make_git_repository(folder / name, files)
        yield made
    finally:
        stack.close()
        shutil.rmtree(stack.folder, ignore_errors=True)


def submit(arena: Arena, name: str, command: str, *, accept: str = "", repository: str = "app") -> None:
    """Have a command of the repository work on an issue."""
    options = ("--agent", "command", "--command", command, *(("--accept", accept) if accept else ()))
    told = arena.stack.manage_json("submit", "--repo", str(arena.repositories[repository]), "--title", name, *options)
    arena.issues[name] = told["agent"]["issue"]


def states(told: dict[str, Any]) -> list[str]:
    """States of an issue's executions."""
    return [run["state"] for run in told["executions"]]


def test_a_sandboxed_grid_works_and_shows_agents_nothing_of_itself(arena: Arena) -> None:
    agent = "python3 -I -S fakeagent.py"
    look = shlex.join([CANARY.encode().hex(), "/etc", "/home", "/run", "/tmp", "/var"])
    submit(arena, "ok", f"test -e set-up.txt && exec {agent} ok", accept="grep 42 answer.txt && git log -1")
    submit(arena, "secrets", f"{agent} secrets {look}; python3 -I -S prisoner.py fetch plan.json; echo x > y.txt")
    submit(arena, "daemons", f"exec {agent} daemonize", repository="impatient")
    submit(arena, "killer", f"exec {agent} kill-parent")

    told = arena.end_of("ok")
    assert told["agent"]["state"] == "done", told["executions"]
    assert [run["sandbox"] for run in told["executions"]] == ["bwrap"]

    told = arena.end_of("secrets")
    assert states(told) == ["succeeded"]
    facts, fetched = map(json.loads, arena.output(told))
    assert facts["found"] == []
    assert facts["fds"] == [0, 1, 2]
    assert not {"SECRET_KEY", "DATABASE_URL", "ANTHROPIC_API_KEY", "GITHUB_TOKEN", "AGENTGRID_STATE_DIR"} & set(
        facts["env"]
    )
    assert list(fetched["connect"].values()) == ["HTTP/1.1 403 Forbidden"]
    assert [answer[:3] for answer in fetched["get"].values()] == ["200", "403"]
    kinds = [(event["kind"], event["body"].get("host")) for event in events(arena, told)]
    refused = [host for kind, host in kinds if kind == "sandbox.refused"]
    assert refused == ["evil.test:443", f"127.0.0.1:{arena.stack.port}/admin/"]

    for name in ("daemons", "killer"):
        told = arena.end_of(name)
        assert states(told)[-1] in ("timed_out", "failed"), told["executions"]
        until_gone(arena, told)
    assert arena.stack.manage_json("doctor")["violations"] == []
    assert not [path.name for path in (arena.stack.state_dir / "host" / "egress").glob("*-*")], "networks of ended runs"


def test_agents_in_a_sandbox_go_on_when_their_worker_is_killed(arena: Arena) -> None:
    web = f"http://127.0.0.1:{arena.stack.port}/livez"
    wait = "until test -e go; do sleep 0.1; done"
    submit(
        arena, "goes-on", f"echo before; {wait}; wget -q -O answer.txt {web} || curl -s {web} > answer.txt; echo after"
    )
    told = arena.stack.wait_until(lambda: _running(arena), "the agent runs")
    workspace = arena.run_dirs(told)[0] / "workspace"
    arena.stack.kill9("executions")
    arena.stack.start("executions")
    (workspace / "go").touch()
    told = arena.end_of("goes-on")
    assert states(told) == ["succeeded"]
    assert arena.output(told) == ["before", "after"]


def _running(arena: Arena) -> dict[str, Any] | None:
    told = arena.explain("goes-on")
    return told if [run["phase"] for run in told["executions"]] == ["agent"] and _said(arena, told) else None


def _said(arena: Arena, told: dict[str, Any]) -> bool:
    try:
        return arena.output(told) == ["before"]
    except FileNotFoundError:
        return False


def events(arena: Arena, told: dict[str, Any]) -> list[dict[str, Any]]:
    """Events of an issue's last execution."""
    printed = arena.stack.manage("tail", "--json", "-n", "500", told["executions"][0]["id"]).stdout
    return [json.loads(line) for line in printed.splitlines()]
