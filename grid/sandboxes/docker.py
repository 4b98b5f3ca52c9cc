"""Containers of a Docker engine, or of podman by its socket (DOCKER_HOST).

The shim starts a keeper (`container.py`), the keeper asks the engine for a container, and in it `inside.py` starts the agent. The
agent's streams are the shim's own: the keeper hands them in over a socket, which is also the container's lifeline. When
the keeper dies, as it does with its shim, the container's first process ends and with it everything in there.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from grid.conf import GridConf
from grid.public_errors import NOT_THERE, LaunchFailedError
from grid.sandboxes import cgroups, mounts, network
from grid.sandboxes.base import ENFORCEABLE, Request, Wrapped

KEEPER = Path(__file__).with_name("container.py")
INSIDE = Path(__file__).with_name("inside.py")
LIFELINE = "/run/agentgrid-keeper"
UID = 1000
"""Of agents whose worker is root; others get the worker's own."""
USED = "containers"
"""In the host directory: containers were made here, so that ended workers' are looked for."""


class DockerSandbox:
    """Agents in containers."""

    name = "docker"
    enforces = frozenset(ENFORCEABLE)

    def available(self, settings: GridConf) -> str:
        """Whether an engine answers and has the image."""
        if not settings.docker_image:
            return "no image is named; set AGENTGRID_DOCKER_IMAGE to one that has python3 and git"
        return _probe(settings.python, settings.docker_image)

    def wrap(self, request: Request) -> Wrapped:
        """The keeper of a container for this command; its network is ready when this returns."""
        settings = request.settings
        reach = network.open_for(request.execution_id, settings)
        user = (os.getuid(), os.getgid()) if os.getuid() else (UID, UID)
        if not os.getuid():
            _give((request.workspace, request.home), user)
        keeper_dir = request.phase_dir / "keeper"
        keeper_dir.mkdir(mode=0o755, exist_ok=True)
        (settings.host_dir / USED).touch()
        plan = request.phase_dir / "container.json"
        plan.touch(mode=0o600)  # it holds the agent's environment
        plan.write_text(json.dumps(_plan(request, reach, keeper_dir, user)))
        return Wrapped(
            argv=(settings.python, "-I", str(KEEPER), "run", str(plan)),
            env={"PATH": os.defpath, **_engine()},
            cwd=request.phase_dir,
            rlimits={"core": 0},
            drop_caps=False,  # the keeper is ours; what it starts is walled in by the engine
        )


def containers(settings: GridConf) -> list[UUID]:
    """Executions that have a container on this host; also those that ended, whose keeper died too early."""
    if not (settings.host_dir / USED).exists():
        return []
    return [UUID(word) for word in _keeper(settings.python, "list", str(settings.host_dir)).stdout.decode().split()]


def remove(settings: GridConf, execution_ids: Collection[UUID]) -> None:
    """Kill and remove the containers of these executions; does nothing without any."""
    if execution_ids:
        _keeper(settings.python, "remove", str(settings.host_dir), *map(str, execution_ids))


def _plan(request: Request, reach: network.Reach, keeper_dir: Path, user: tuple[int, int]) -> dict[str, Any]:
    """What the keeper asks the engine for. Pure."""
    settings, limits = request.settings, request.limits
    shown = mounts.readable(python=settings.python, path=settings.agent_path, state_dir=settings.state_dir)
    binds = [(path, str(path), "ro") for path in (*shown, request.objects)]
    binds += [(reach.folder, network.INSIDE, "ro"), (keeper_dir, LIFELINE, "ro")]
    binds += [(path, str(path), "rw") for path in (request.home, request.workspace)]
    doors = (word for door in reach.doors for word in ("--door", f"{door.port}={door.socket}"))
    return {
        "image": settings.docker_image,
        "command": [
            "python3",
            "-I",
            "-S",
            str(INSIDE),
            *doors,
            "--lifeline",
            f"{LIFELINE}/lifeline",
            "--",
            *request.argv,
        ],
        "environment": {**request.env, **reach.env},
        "binds": [f"{source}:{target}:{mode}" for source, target, mode in binds],
        "working_dir": str(request.workspace),
        "user": f"{user[0]}:{user[1]}",
        "owner": list(user),
        "labels": {
            "agentgrid.host": str(settings.host_dir),
            "agentgrid.execution": str(request.execution_id),
            "agentgrid.fence": str(request.fence),
        },
        "memory": limits.memory_bytes,
        "processes": (limits.processes or cgroups.DEFAULT_PROCESSES) + cgroups.OWN_PROCESSES,
        "file_bytes": limits.file_bytes,
        "lifeline": str(keeper_dir),
    }


def _give(folders: Collection[Path], user: tuple[int, int]) -> None:
    """Make another user the owner of everything in our folders; links are not followed."""
    for folder in folders:
        for path in _below(folder):
            os.chown(path, *user, follow_symlinks=False)


def _below(folder: Path) -> Iterator[str]:
    yield str(folder)
    for parent, folders, files in os.walk(folder):
        yield from (os.path.join(parent, name) for name in (*folders, *files))


def _engine() -> dict[str, str]:
    """How the engine is found; the same variables as the `docker` command reads."""
    names = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ}


@functools.lru_cache(maxsize=16)
def _probe(python: str, image: str) -> str:
    done = _keeper(python, "probe", image)
    return (
        ""
        if done.returncode == 0
        else (done.stdout.decode("utf-8", "replace").strip()[-300:] or "the engine's client died")
    )


def _keeper(python: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Ask the engine something. In a process of its own: its client is too heavy for workers that never need it."""
    asked = [python, "-I", str(KEEPER), *words]
    try:
        return subprocess.run(asked, capture_output=True, timeout=60, env={"PATH": os.defpath, **_engine()}, cwd="/")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(asked, 1, b"the engine does not answer", b"")
    except OSError as error:
        raise LaunchFailedError(
            f"cannot run {python}: {error}; set GRID_PYTHON", permanent=isinstance(error, NOT_THERE)
        ) from error
