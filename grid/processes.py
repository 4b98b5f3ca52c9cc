"""The host's hands: start shims, command them, tell whether they live, end those that do not answer.

Shims are started by the nursery of the host directory, which is started when it does not answer, or cold when it cannot be
had. Nothing here keeps a child, a thread or a descriptor: whoever finds the run directory can do the rest.
"""

from __future__ import annotations

import enum
import fcntl
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from grid import placing, spool
from grid.public_errors import NOT_THERE, LaunchFailedError, SpoolError
from grid.shim import calling, control, reaper
from grid.shim.version import version

log = logging.getLogger(__name__)

SHIM = Path(__file__).resolve().parent / "shim"
NURSERY_IDLE_SECONDS = 60
KILL_GRACE_SECONDS = 3.0
"""For a shim to write its exit record once its tree is gone."""
LOOK_SECONDS = 0.01
ENDED_FROM_OUTSIDE = "ended_from_outside"
"""In a run directory: `end_shim` ended this run, so what its exit record says of the agent is our own doing."""
SERVED = (0, 75)  # exit codes of its starter after which some nursery serves
"""Exit codes of a nursery's starter after which some nursery serves."""
HELPER_ENV = ("LD_LIBRARY_PATH",)
"""What some interpreters cannot start without. Nothing else: a shim's environment is readable before it hides itself."""


class StartCode(enum.IntEnum):
    """How the start of a shim ended."""

    RUNNING = 0
    FAILED = 70
    """The shim itself failed; `shim.log` in the run directory says why."""
    NOT_STARTED = 71
    """The agent could not be started; the spool's exit record says why."""
    ALREADY_USED = 73
    """Another start took this run directory before; `shim_state` tells what became of it."""


class ShimState(enum.Enum):
    """What the run directory tells about its shim."""

    ABSENT = "absent"
    """No spool: no shim took this directory."""
    ALIVE = "alive"
    """The spool is locked."""
    GONE = "gone"
    """The spool is there and nobody holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process, told from any later one with its number."""

    pid: int
    start: int
    """Clock ticks after boot."""
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimSpec:
    """One run of one program, as spec.json tells the shim."""

    run_dir: Path
    """Absolute; the spool, socket and log appear here. Give it another owner than the agent where there are uids."""
    cwd: Path
    """The agent's directory."""
    prompt: Path
    """File that the agent reads as its stdin."""
    argv: Sequence[str]
    env: Mapping[str, str]
    """The agent's whole environment."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """`wall_s`, `idle_s`, `output_bytes`, `output_stop_bytes`; absent or 0 means no limit (64 MiB for output_bytes)."""
    rlimits: Mapping[str, int] = field(default_factory=dict)
    """`nproc`, `nofile`, `core`, `as`, `fsize`, `cpu`, as setrlimit takes them: 0 is a limit of zero."""
    ladder: Sequence[tuple[str, float]] = (("INT", 2.0), ("TERM", 3.0))
    """Signals of a stop and the seconds after each; then everything is killed."""
    lease_at: float
    """When the lease was written, by `boottime()` read before it was."""
    lease_ttl_s: float = 60
    fence_margin_s: float = 15
    """The shim kills its agent this long before the lease ends."""
    uid: int | None = None
    gid: int | None = None
    """The agent's user and group; None leaves it ours. Only root can give another."""
    stdin: Literal["file", "pipe"] = "file"
    """`pipe` stays open for `deliver` commands."""
    drop_caps: bool = True
    """Root's agent loses all capabilities, so that it cannot look into our processes."""


def boottime() -> float:
    """Seconds since boot, suspended time included: the clock of leases."""
    return reaper.now()


def write_spec(run_dir: Path, spec: ShimSpec) -> Path:
    """Write spec.json, readable by us alone, as it holds the agent's environment; return its path."""
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    placing.write(run_dir, "spec.json.new", json.dumps(asdict(spec), default=str).encode())
    return (run_dir / "spec.json.new").replace(run_dir / "spec.json")


def start_shim(*, host_dir: Path, spec_path: Path, python: str, timeout: float = 20) -> StartCode:
    """Start the shim of a written spec and wait until its agent runs or cannot.

    A run directory is used once, whoever starts it and how often: the other starts get ALREADY_USED.

    Args:
        host_dir: Of the nursery; created when missing.
        spec_path: From `write_spec`.
        python: Interpreter for nursery and shim, 3.12 or later.
        timeout: Seconds. A nursery that somebody stopped costs up to half of them before a cold start.

    Raises:
        LaunchFailedError: There is no such interpreter.
    """
    deadline = time.monotonic() + timeout
    request = {"op": "start", "spec": str(spec_path.absolute()), "version": shim_version()}
    asked = False
    for _ in range(2):
        answer = calling.ask(str(host_dir), request, timeout / 4)
        if answer and "code" in answer:
            break
        asked = asked or answer == {}
        if ensure_nursery(host_dir=host_dir, python=python, timeout=timeout / 4) is None:
            answer = None
            break
    if answer and "code" in answer:
        code = _start_code(int(answer["code"]))
    else:
        code = _cold_start(spec_path, python=python, timeout=max(1.0, deadline - time.monotonic()))
    if code is StartCode.ALREADY_USED and asked:  # by our own first request, perhaps, whose answer was lost
        return _code_by_state(spec_path.parent)
    return code


def ensure_nursery(*, host_dir: Path, python: str, timeout: float = 5) -> int | None:
    """Return the pid of a nursery of our own version, started if need be; None when it cannot be had in time.

    Also keeps an idle one from ending. Not while the host drains: a nursery that was told to go would be replaced.

    Raises:
        LaunchFailedError: There is no such interpreter.
    """
    deadline = time.monotonic() + timeout
    starter = [python, "-I", "-S", str(SHIM / "nursery.py"), str(host_dir.absolute()), str(NURSERY_IDLE_SECONDS)]
    try:
        host_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        log.warning("there is no place for a nursery", extra={"path": str(host_dir), "error": str(error)})
        return None
    while time.monotonic() < deadline:
        answer = calling.ask(str(host_dir), {"op": "ping"}, 1.0)
        if answer and answer.get("version") == shim_version():
            return int(answer["pid"])
        if answer and "error" in answer:
            return None  # we run below it, as a part of an agent
        if answer:
            calling.ask(str(host_dir), {"op": "retire"}, 1.0)
        if answer == {} and (pid := nursery_pid(host_dir)):
            reaper.signal_each([pid], signal.SIGCONT)  # it took the call and said nothing: somebody stopped it
        elif _run(starter, timeout=max(0.1, deadline - time.monotonic())) not in SERVED:
            return None
        time.sleep(LOOK_SECONDS)  # another starter was faster, maybe: its nursery answers soon
    return None


def nursery_pid(host_dir: Path) -> int | None:
    """Pid of the nursery that serves a directory, stopped or not; None when there is none."""
    client = calling.connect(str(host_dir), 1.0)
    if client is None:
        return None
    with client:
        pid, _ = calling.peer(client)
    return pid or None


def retire_nursery(host_dir: Path) -> None:
    """Tell the nursery to end as soon as its shims have; does nothing without one."""
    pid = nursery_pid(host_dir)
    if pid is not None:
        reaper.signal_each([pid], signal.SIGTERM)


def command(run_dir: Path, message: Mapping[str, Any], *, timeout: float = 1.0) -> dict[str, Any] | None:
    """Send one command to a shim; None when it is gone, stopped or too busy to answer in time.

    Args:
        run_dir: Of the shim.
        message: `op` and its arguments: ping; renew (`at`: boottime read before the lease was renewed); stop (`reason`);
            kill (`reason`); deliver (`id`, `message`).
        timeout: Seconds.

    Returns:
        `ok`, `n` (last record), `reason` (why it stops, or None), `fence_in_s`; `error` when refused.
    """
    return control.send(str(run_dir), message, timeout)


def shim_state(run_dir: Path) -> ShimState:
    """Whether a shim took this directory and lives; needs no pid."""
    try:
        fd = spool.opened(run_dir / "spool.jsonl")
    except FileNotFoundError:
        return ShimState.ABSENT
    except SpoolError:  # not the one that a shim locks
        return ShimState.GONE
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return ShimState.ALIVE
    finally:
        os.close(fd)
    return ShimState.GONE


def shim_identity(run_dir: Path) -> Identity | None:
    """Which process the shim is or was; None before it wrote that down."""
    try:
        with os.fdopen(spool.opened(run_dir / "shim.json"), "rb") as file:
            facts = json.loads(file.read(4096))
        return Identity(pid=int(facts["pid"]), start=int(facts["start"]), boot=str(facts["boot"]))
    except (SpoolError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_running(identity: Identity) -> bool:
    """Whether this very process lives; a zombie does not."""
    try:
        fields = reaper.stat_fields(identity.pid)
    except OSError:
        return False
    return fields[0] not in (b"Z", b"X") and int(fields[19]) == identity.start and reaper.boot_id() == identity.boot


def end_shim(run_dir: Path) -> int:
    """End a shim that does not answer, stopped by its agent perhaps; return how many processes below it were killed.

    Its tree goes first, from outside: a stopped shim still holds it, a killed one orphans it. Then the shim may write its
    exit record; if it cannot, it is killed.
    """
    shim = shim_identity(run_dir)
    if shim is None or shim.pid <= 1 or shim.pid == os.getpid() or not is_running(shim):
        return 0
    (run_dir / ENDED_FROM_OUTSIDE).touch()
    seen, _ = reaper.kill_tree(shim.pid)
    deadline = time.monotonic() + KILL_GRACE_SECONDS
    while is_running(shim) and time.monotonic() < deadline:
        reaper.signal_each([shim.pid], signal.SIGCONT)
        time.sleep(LOOK_SECONDS)
    if is_running(shim):
        reaper.signal_each([shim.pid], signal.SIGKILL)
    return seen


@cache
def shim_version() -> str:
    """Version of the shim's sources when this process first asked."""
    return version()


def _cold_start(spec_path: Path, *, python: str, timeout: float) -> StartCode:
    """Start a shim by an interpreter of its own."""
    code = _run([python, "-I", "-S", str(SHIM / "__main__.py"), str(spec_path.absolute())], timeout=timeout)
    return _code_by_state(spec_path.parent) if code is None else _start_code(code)


def _run(command: Sequence[str], *, timeout: float) -> int | None:
    """Run a helper that goes to the background by itself, without our environment; None when it took too long."""
    env = {name: os.environ[name] for name in HELPER_ENV if name in os.environ}
    try:
        done = subprocess.run(command, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        raise LaunchFailedError(
            f"cannot run {command[0]}: {error}; set GRID_PYTHON", permanent=isinstance(error, NOT_THERE)
        ) from error
    if done.stderr:
        log.warning("a helper of the grid complained", extra={"command": command, "stderr": done.stderr[-2000:]})
    return done.returncode


def _start_code(code: int) -> StartCode:
    """The code of a start; any other exit of the interpreter means that the shim failed."""
    return StartCode(code) if code in tuple(StartCode) else StartCode.FAILED


def _code_by_state(run_dir: Path) -> StartCode:
    """What became of a start whose answer we did not get."""
    return StartCode.RUNNING if shim_state(run_dir) is ShimState.ALIVE else StartCode.FAILED
