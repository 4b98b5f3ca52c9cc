"""Hostile agents on a whole stack: an honest end each time, bounded memory, no process left, no secret found."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest

from grid import processes
from tests.factories import git
from tests.hostile.arena import Arena, PeakMemory, until_gone, without_capabilities
from tests.hostile.shim_runs import FAKE_AGENT
from tests.hostile.up import Up
from tests.services.stack import WORKERS, Stack

pytestmark = pytest.mark.timeout(240)
FAST = {"AGENTGRID_HEARTBEAT_SECONDS": "1", "AGENTGRID_LEASE_SECONDS": "20"}
NOTHING = "exit 0, but neither a change nor .agentgrid/outcome.json"
SILENT = "no output for too long"
CRASHES = ["lost", "lost", "quarantined"]
MARK = f"mark-{uuid4().hex}"
MIB_200 = 200.0
type Hunted = tuple[Arena, dict[str, Any], Up]
_ALLOWED = "OPENAI_API_KEY"
"""The one key that the hunting agent may have."""

# Mode and arguments, the states of its executions, what `explain` says of the last one.
CRASHING = [
    (["kill-parent"], CRASHES, "killed"),
    (["term-parent"], CRASHES, "somebody told its shim to stop"),
    (["stop-supervisor"], CRASHES, "did not answer"),
    (["forge-exit", MARK], CRASHES, "forged"),
    (["forge-nonsense"], CRASHES, "could not convert string to float"),
    (["forge-garbage"], CRASHES, "not a JSON line in spool.jsonl"),
]
DONE = [
    (["ok"], ["succeeded"], "done: wrote answer.txt"),
    (["strange-outcome"], ["succeeded"], "done: NUL"),
    (["deep-files"], ["succeeded"], "exit 0 with a change"),
]
FAILING = [
    (["exit-0-no-result"], ["failed"], NOTHING),
    (["bad-outcome"], ["failed"], "invalid .agentgrid/outcome.json: not UTF-8 at byte"),
    (["bad-json"], ["failed"], NOTHING),
    (["die9"], ["failed"], "signal 9"),
    (["binary"], ["failed"], NOTHING),
    (["nolf"], ["failed"], NOTHING),
    (["spew", str(400 << 20)], ["failed"], NOTHING),
    (["daemonize-and-leave"], ["failed"], NOTHING),
]
ENDLESS = [
    (["hang"], ["timed_out"], SILENT),
    (["stop-self"], ["timed_out"], SILENT),
    (["close-stdout"], ["timed_out"], SILENT),
    (["daemonize"], ["timed_out"], SILENT),
    (["scatter", MARK], ["timed_out"], SILENT),
    (["forkbomb", "200"], ["timed_out"], SILENT),
]


@pytest.fixture(scope="module")
def peaks() -> dict[str, float]:
    """The most memory of our processes, filled by `arena`."""
    return {}


@pytest.fixture(scope="module")
def arena(
    request: pytest.FixtureRequest,
    migrated_sqlite: str,
    tmp_path_factory: pytest.TempPathFactory,
    peaks: dict[str, float],
) -> Iterator[Arena]:
    """All of them on one stack and most at once: also that none of them disturbs another."""
    stack = Stack(Path(tempfile.mkdtemp(prefix="ag-")), slots=24, extra_env=FAST, is_forked=False)
    try:
        shutil.copy(migrated_sqlite, stack.state_dir / "agentgrid.sqlite3")
        stack.prepare_broker().start()
        memory = PeakMemory(stack)
        memory.peaks = peaks
        hostile = Arena(stack, tmp_path_factory.mktemp("repositories"))
        patient = hostile.repository("patient", wall_seconds=120, idle_seconds=60)
        impatient = hostile.repository("impatient", wall_seconds=60, idle_seconds=3)
        # In this order, because the fleet's breaker starts nothing new after 20 failures without a success in between.
        for words, _, _ in CRASHING:
            hostile.submit(*words, repository=patient)
        for words, _, _ in CRASHING:
            until_gone(hostile, hostile.end_of(words[0]), *words[1:])
        for words, _, _ in DONE:
            hostile.submit(*words, repository=patient)
        hostile.end_of("ok")
        for words, _, _ in FAILING:
            hostile.submit(*words, repository=patient)
        hostile.submit("ignore-term", repository=patient)
        for words, _, _ in ENDLESS[:-1]:
            hostile.submit(*words, repository=impatient)
        room = threads_of_this_user() + 120
        hostile.submit(*ENDLESS[-1][0], repository=hostile.repository("bombed", idle_seconds=3, processes=room))
        yield hostile
        memory.close()
        if request.session.testsfailed:
            for name in WORKERS:
                print(f"--- last lines of {name}", *stack.logs(name).splitlines()[-60:], sep="\n")
    finally:
        stack.close()
        shutil.rmtree(stack.folder, ignore_errors=True)


def threads_of_this_user() -> int:
    """What RLIMIT_NPROC counts."""
    count = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            count += process.num_threads() if process.uids().real == os.getuid() else 0
    return count


def states(told: dict[str, Any]) -> list[str]:
    """Of an explained issue's executions, oldest first."""
    return [run["state"] for run in reversed(told["executions"])]


def test_an_agent_deaf_to_signals_is_cancelled(arena: Arena) -> None:
    arena.stack.wait_until(lambda: arena.agents_of(arena.explain("ignore-term")), "it runs")
    arena.stack.manage("cancel", arena.issues["ignore-term"], "--yes")
    told = arena.end_of("ignore-term")
    arena.stack.wait_until(lambda: states(arena.explain("ignore-term")) == ["cancelled"], "its run is cancelled")
    until_gone(arena, told)
    assert arena.explain("ignore-term")["agent"]["state"] == "abandoned"


@pytest.mark.parametrize(
    ("words", "expected", "reason"), CRASHING + DONE + FAILING + ENDLESS, ids=lambda item: item[0] if item else ""
)
def test_it_ends_honestly_and_leaves_no_process(
    arena: Arena, words: list[str], expected: list[str], reason: str
) -> None:
    told = arena.end_of(words[0])
    until_gone(arena, told, *words[1:2] if MARK in words else ())
    assert states(told) == expected, told["executions"]
    last = told["executions"][0]
    assert reason in last["result"]["reason"]
    if expected == ["succeeded"]:
        assert told["agent"]["state"] == "done"
    else:
        assert told["agent"]["state"] == "failed"
        assert last["state"] in told["agent"]["blocked_reason"] or reason in told["agent"]["blocked_reason"]
    people_read = arena.stack.manage("explain", arena.issues[words[0]], check=False).stdout
    assert reason in people_read
    assert not {"\x00", "\x1b", "\x07", "\u202e"} & set(people_read)


def test_what_they_did_besides_is_kept_whole(arena: Arena) -> None:
    done = [words[0] for words, _, _ in DONE]
    for mode in done:
        arena.end_of(mode)
    repository = arena.repositories["patient"]
    branches = git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
    names = [arena.explain(mode)["agent"]["branch"] for mode in done]
    assert sorted(branches) == sorted(["main", *names])  # nothing of the others is passed off as work
    assert "odd.txt" in git(
        repository, "ls-tree", "-r", "--name-only", arena.explain("strange-outcome")["agent"]["branch"]
    )
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "branch", "--show-current") == "main"


def test_memory_stayed_below_200_mib(arena: Arena, peaks: dict[str, float]) -> None:
    """Of the worker, the nursery and every shim, through 400 MB in one line, 400 MB of lines and all the rest."""
    for mode in ("nolf", "spew", "binary"):
        arena.end_of(mode)
    assert set(peaks) == {"control", "executions", "nursery", "shim"}
    assert max(peaks.values()) < MIB_200, peaks


def test_after_all_of_them_nothing_is_left_and_every_law_holds(arena: Arena) -> None:
    for mode in arena.issues:
        arena.end_of(mode)
    deadline = time.monotonic() + 5
    while left := arena.others():
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert arena.agents_of({"executions": []}, MARK) == []
    assert arena.stack.manage_json("doctor")["violations"] == []
    assert '"ERROR"' not in arena.stack.logs("executions") + arena.stack.logs("control")


# --- Secrets -----------------------------------------------------------------------------------------------------


def canaries(secret: str) -> dict[str, str]:
    """Our keys as an operator would set them, none of which agents may see."""
    return {
        "SECRET_KEY": f"django-{secret}-key",
        "ANTHROPIC_API_KEY": f"sk-ant-{secret}",
        "AWS_SECRET_ACCESS_KEY": secret,
        "REDIS_URL": f"redis://:{secret}@127.0.0.1:1/0",
        "GITHUB_TOKEN": f"ghp_{secret}",
        "GITHUB_WEBHOOK_SECRET": f"hook-{secret}",
        "GITHUB_APP_PRIVATE_KEY": f"-----BEGIN RSA PRIVATE KEY-----\\n{secret}\\n-----END RSA PRIVATE KEY-----",
        "GATEWAY_PROVIDERS": "anthropic",
        "GATEWAY_ANTHROPIC_URL": "http://127.0.0.1:1",
        "GATEWAY_ANTHROPIC_API_KEY": f"sk-gateway-{secret}",
    }


def files_with(folder: Path, secret: bytes) -> list[str]:
    """Regular files below a folder that hold these bytes."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


def places(stack: Stack) -> tuple[str, ...]:
    """Where else to look: all that lies in the state folder, stores, other runs and the database among it, has our owner."""
    return (str(stack.state_dir), str(stack.folder), "/proc/self/cwd/")


@pytest.fixture
def new_hunt(new_stack: Callable[..., Stack], tmp_path: Path) -> Iterator[Callable[..., Hunted]]:
    """Lets an agent hunt for a secret on a stack that has no capabilities to keep it away by."""
    with contextlib.ExitStack() as cleanup:

        def hunt(secret: str, *, allowed: str, broker: str) -> Hunted:
            env = {**FAST, **canaries(secret), _ALLOWED: allowed, "AGENTGRID_AGENT_ENV_ALLOW": _ALLOWED}
            stack = new_stack(extra_env=env, broker=broker)
            # SQLite has no password: what stands behind `#` is read by nobody, and is as secret.
            stack.env["DATABASE_URL"] = f"sqlite:///{stack.state_dir}/agentgrid.sqlite3#{secret}"
            cleanup.callback(stack.env.pop, "DATABASE_URL")  # what comes after the test knows a stack on SQLite by that
            thread = cleanup.enter_context(without_capabilities())
            up = thread.submit(Up, stack, "--port", str(stack.port)).result()
            cleanup.callback(up.stop)
            stack.wait_until(up.is_ready, "the host is there", timeout=120)
            stack.wait_until(stack.web_answers, "web answers", timeout=120)
            arena = Arena(stack, tmp_path)
            hex_of_it = secret.encode().hex()
            again = (
                f"python3 -I -S {shlex.quote(str(FAKE_AGENT))} secrets {hex_of_it} {stack.folder} && test -e work.txt"
            )
            repository = arena.repository("app", idle_seconds=60)
            look = places(stack)
            arena.submit("secrets", hex_of_it, *look, repository=repository, then="echo x > work.txt", accept=again)
            spools = stack.state_dir.glob
            # No command of ours while it hunts: as an ordinary user it could see one that is just starting.
            stack.wait_until(
                lambda: any(spools("runs/*/phases/verify-1/shim.json")), "the agent has hunted", timeout=120
            )
            return arena, arena.end_of("secrets"), up

        yield hunt


@pytest.mark.parametrize("broker", ["gridfs", "redis"])
def test_no_secret_of_ours_is_found_by_an_agent_or_kept_anywhere(new_hunt: Callable[..., Hunted], broker: str) -> None:
    """With Redis there are pool processes besides."""
    secret, allowed = f"canary{uuid4().hex}", f"allowed{uuid4().hex}"
    arena, told, up = new_hunt(secret, allowed=allowed, broker=broker)
    assert states(told) == ["succeeded"]
    facts = json.loads(arena.output(told)[0])
    assert facts["found"] == []
    assert facts["fds"] == [0, 1, 2]
    assert not {*canaries(secret), "DATABASE_URL", "AGENTGRID_STATE_DIR"} & set(facts["env"])
    # An acceptance command, which runs what the agent wrote, finds no more.
    assert json.loads(told["executions"][0]["result"]["checks"][0]["tail"])["found"] == []
    stack, nursery = arena.stack, processes.nursery_pid(arena.stack.state_dir / "host")
    shims = [json.loads(path.read_text())["pid"] for path in stack.state_dir.glob("runs/*/phases/agent/shim.json")]
    pool = [child.pid for child in psutil.Process(up.pid).children(recursive=True)]
    ours = {up.pid, nursery, *up.pids().values(), *pool, *shims}
    assert len(ours) == (7 if broker == "gridfs" else 11)
    assert not ours & set(facts["readable"])
    # The same hunt does find what is allowed; otherwise all this would prove nothing.
    arena.submit("secrets", allowed.encode().hex(), *places(stack), repository=arena.repository("app"), title="allowed")
    facts = json.loads(arena.output(arena.end_of("allowed"))[0])
    assert any(path.endswith("/environ") for path in facts["found"])
    assert any("spec.json" in path for path in facts["found"])
    assert _ALLOWED in facts["env"]
    stack.http("/admin/login/")
    assert up.stop() == 0
    assert files_with(stack.folder, secret.encode()) == []  # the database, events, spools, messages, logs


def test_postgresql_takes_what_they_print_and_keeps_no_secret(
    request: pytest.FixtureRequest, new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    secret = f"canary{uuid4().hex}"
    stack = new_stack(database="postgres", extra_env={**FAST, **canaries(secret)})
    url = stack.env["DATABASE_URL"]
    stack.env["DATABASE_URL"] = url.replace("postgres@", f"postgres:{secret}@", 1)
    arena = Arena(stack.start(), tmp_path)
    repository = arena.repository("app", idle_seconds=60)
    noise = f"python3 -I -S {shlex.quote(str(FAKE_AGENT))} binary"
    arena.submit("binary", repository=repository, then="echo x > work.txt", accept=noise)
    arena.submit("nolf", repository=repository)
    arena.submit("strange-outcome", repository=repository)
    arena.submit("secrets", secret.encode().hex(), str(stack.folder), repository=repository)
    assert states(arena.end_of("binary")) == ["succeeded"]
    assert states(arena.end_of("strange-outcome")) == ["succeeded"]
    told = arena.end_of("nolf")
    assert (states(told), told["executions"][0]["result"]["reason"]) == (["failed"], NOTHING)
    assert json.loads(arena.output(arena.end_of("secrets"))[0])["found"] == []
    assert arena.stack.manage_json("doctor")["violations"] == []
    stack.close()
    assert files_with(stack.folder, secret.encode()) == []
    with psycopg.connect(url) as database:
        tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert len(tables) > 20
        for (table,) in tables:
            rows = database.execute(f'SELECT t::text FROM "{table}" t').fetchall()
            assert secret not in str(rows), table
