"""bubblewrap: namespaces of its own for users, processes, network, mounts, messages, host name.

The agent is an ordinary user to itself and ours to the machine, so that its files are ours to read and delete. As root that is
root without capabilities, in a namespace that holds nothing of root's but programs, read-only; /proc is read-only for this
reason, as its settings belong to root.

The order is shell, bwrap, bridge, agent, all in the agent's process group. The shell enters the control groups and ignores
the signals of a stop for bwrap and the bridge, which must outlive the agent's last words; the bridge gives the agent the
usual ones back.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from grid.conf import GridConf
from grid.sandboxes import cgroups, mounts, network
from grid.sandboxes.base import ENFORCEABLE, Request, Wrapped, check_program, rlimits

PROGRAM = "bwrap"
UID = 1000
"""The agent's own idea of who it is."""
TMP_BYTES = 1 << 30
_BRIDGE = f"import sys; sys.path.append({str(mounts.PACKAGE.parent)!r}); from grid.sandboxes import bridge; " + (
    "sys.exit(bridge.main(sys.argv[1:]))"
)
"""Not a script of its own: those are compiled anew at every start, modules are not."""
_WALLS = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--disable-userns", "--die-with-parent", "--uid", str(UID), "--gid", str(UID), "--hostname", "sandbox"),
    # No --new-session: the shim made a session without a terminal, and signals to the agent's group must reach it.
)
_START = """\
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; done
shift
trap '' INT TERM HUP QUIT
exec "$@"
"""
_WITHOUT_PRIVILEGES = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_ALWAYS = frozenset({"files", "network", "pids", "uid", "proc"})


class BwrapSandbox:
    """Agents in namespaces."""

    name = PROGRAM

    @property
    def enforces(self) -> frozenset[str]:
        """Everything where control groups can be made; an ordinary user's processes are counted without them, too."""
        if cgroups.parents():
            return frozenset(ENFORCEABLE)
        return _ALWAYS if os.geteuid() == 0 else _ALWAYS | {"processes"}

    def available(self, settings: GridConf) -> str:
        """Whether a sandbox with our own interpreter in it can be made."""
        return _probe(settings.python, settings.agent_path, settings.state_dir)

    def wrap(self, request: Request) -> Wrapped:
        """The command, walled in; its network is ready when this returns."""
        check_program(request)
        settings, limits = request.settings, request.limits
        reach = network.open_for(request.execution_id, settings)
        groups = cgroups.make(f"{request.execution_id.hex[:12]}-{request.phase}", limits) if cgroups.parents() else []
        own = rlimits(limits)
        processes = own.pop("nproc", 0)  # set by the bridge: outside it would count everything of our user
        if groups:
            own.pop("as", None)
            processes = 0
        bridge = (
            *(settings.python, "-I", "-S", "-c", _BRIDGE, "--processes", str(processes)),
            *(word for door in reach.doors for word in ("--door", f"{door.port}={door.socket}")),
        )
        return Wrapped(
            argv=(
                *("/bin/sh", "-c", _START, "sandbox", *map(str, groups), "--", _program()),
                *walls(request, readable=_readable(settings), sockets=reach.folder),
                *(*bridge, "--", *request.argv),
            ),
            env={**request.env, **reach.env},
            cwd=request.workspace,
            rlimits=own,
            drop_caps=False,  # bwrap needs them to make the user namespace, and keeps none
        )


def walls(request: Request, *, readable: Iterable[Path], sockets: Path | None) -> tuple[str, ...]:
    """Arguments of bwrap for one command. Pure."""
    return (
        *_WALLS,
        *system(),
        *(word for path in readable for word in ("--ro-bind", str(path), str(path))),
        *("--ro-bind", str(request.objects), str(request.objects)),
        *(("--ro-bind", str(sockets), network.INSIDE) if sockets else ()),
        *("--bind", str(request.home), str(request.home), "--bind", str(request.workspace), str(request.workspace)),
        *("--chdir", str(request.workspace), "--remount-ro", "/", "--"),
    )


@functools.cache
def system() -> tuple[str, ...]:
    """The part that is the same for all runs: programs, /etc, /proc, /dev, /tmp."""
    return tuple(_system())


def _system() -> Iterator[str]:
    for name in mounts.SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    for name in mounts.ETC:
        if Path("/etc", name).exists():
            yield from ("--ro-bind", f"/etc/{name}", f"/etc/{name}")
    for stub in sorted(mounts.STUBS.iterdir()):
        yield from ("--ro-bind", str(stub), f"/etc/{stub.name}")
    # Read-only: below /proc/sys root owns what the whole machine obeys, and to the machine we may be root.
    yield from ("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev")
    yield from ("--size", str(TMP_BYTES), "--tmpfs", "/tmp")  # noqa: S108 - the agent's own


def _readable(settings: GridConf) -> tuple[Path, ...]:
    return mounts.readable(python=settings.python, path=settings.agent_path, state_dir=settings.state_dir)


@functools.cache
def _program() -> str:
    return shutil.which(PROGRAM) or PROGRAM


@functools.lru_cache(maxsize=16)
def _probe(python: str, path: str, state_dir: Path) -> str:
    if shutil.which(PROGRAM) is None:
        return "there is no bwrap; install bubblewrap 0.8 or later (Debian: `apt-get install bubblewrap`)"
    shown = mounts.readable(python=python, path=path, state_dir=state_dir)
    binds = (word for found in shown for word in ("--ro-bind", str(found), str(found)))
    # Without new privileges, as below a shim: a set-uid bwrap would do here and fail there.
    asked = [python, "-I", "-S", "-c", _WITHOUT_PRIVILEGES, _program(), *_WALLS, *system(), *binds]
    asked += ["--remount-ro", "/", "--", python, "-I", "-S", "-c", "pass"]
    try:
        done = subprocess.run(asked, capture_output=True, timeout=20, env={}, cwd="/")
    except (OSError, subprocess.SubprocessError) as error:
        return f"bwrap cannot be run: {error}"
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip()[-300:]
    return f"bwrap does not work here: {said or done.returncode}; the kernel must allow user namespaces, see docs/sandboxes.md"
