"""The keeper of one container, and other errands with the engine.

    python -I container.py run PLAN.json          under the shim: make a container, hand it our streams, wait, remove it
    python -I container.py probe IMAGE            0 when the engine can start a container of it; else says why not
    python -I container.py list HOST              executions that have a container of this host directory
    python -I container.py remove HOST ID...      kill and remove the containers of these executions

A program of its own: the engine's client takes longer to import than most of our processes live. DOCKER_HOST says where the
engine is; podman's socket will do.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

CANNOT_START = 125
HOST, EXECUTION = "agentgrid.host", "agentgrid.execution"
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
LOOK_S = 0.5
MOST = {"nofile": 1 << 16, "nproc": 1 << 15}
TMPFS = {"/tmp": "rw,nosuid,nodev,size=1g,mode=1777"}  # noqa: S108 - the container's own


_NOTHING: dict[str, Any] = {
    **{"command": ["python3", "-c", "pass"], "environment": {}, "working_dir": "/", "user": "1000:1000", "labels": {}},
    **{"binds": [], "processes": 64, "memory": 0, "file_bytes": 0},
}
"""A plan to try the engine with."""


def client() -> docker.DockerClient:
    """The engine named by DOCKER_HOST, or the usual socket."""
    return docker.from_env(timeout=60)


def run(plan_path: Path) -> int:
    """Be the keeper of one container; returns the agent's exit code."""
    plan: dict[str, Any] = json.loads(plan_path.read_text())
    engine = client()
    ends: set[int] = set()
    for signum in FORWARDED:  # until there is somebody to forward them to
        signal.signal(signum, lambda number, _: ends.add(number))
    os.chdir(plan["lifeline"])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("lifeline")
    os.chmod("lifeline", 0o666)  # noqa: S103 - its folder is shown to this container alone
    listener.listen(1)
    container = create(engine, plan)
    try:
        container.start()
        line = first_caller(listener, container)
        with contextlib.suppress(PermissionError):
            for fd in (0, 1, 2):
                os.fchown(fd, *plan["owner"])  # or the agent could not open /dev/stdout
        socket.send_fds(line, [b"streams"], [0, 1, 2])

        def forward(number: int, _: object = None) -> None:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                line.send(bytes([number]))

        for signum in FORWARDED:
            signal.signal(signum, forward)
        for number in ends:
            forward(number)
        told = line.recv(1)
        return told[0] if told else int(container.wait(timeout=30)["StatusCode"])
    finally:
        with contextlib.suppress(DockerException):
            container.remove(force=True, v=True)


def first_caller(listener: socket.socket, container: Any) -> socket.socket:
    """The connection of the container's first process. Raises OSError when that has ended without one."""
    listener.settimeout(LOOK_S)
    while True:
        with contextlib.suppress(TimeoutError):
            return listener.accept()[0]
        container.reload()
        if container.status not in ("created", "running"):
            raise OSError(container.logs(tail=20).decode("utf-8", "replace")[-500:] or container.status)


def create(engine: docker.DockerClient, plan: dict[str, Any]) -> Any:
    """A container that holds nothing but what the plan says."""
    limits: dict[str, Any] = {"pids_limit": plan["processes"], "cpu_shares": 1024}
    if plan["memory"]:
        limits |= {"mem_limit": plan["memory"], "memswap_limit": plan["memory"]}
    return engine.containers.create(
        plan["image"],
        plan["command"],
        entrypoint=[],
        environment=plan["environment"],
        working_dir=plan["working_dir"],
        user=plan["user"],
        labels=plan["labels"],
        volumes=plan["binds"],
        network_mode="none",
        read_only=True,
        tmpfs=TMPFS,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        ulimits=ulimits(plan["file_bytes"]),
        ipc_mode="private",
        init=False,
        detach=True,
        **limits,
    )


def ulimits(file_bytes: int) -> list[docker.types.Ulimit]:
    """Limits of each process. Ours where the engine would take its own, which it may not be allowed to set."""
    hard = {
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "nproc": resource.getrlimit(resource.RLIMIT_NPROC)[1],
    }
    values = {name: MOST[name] if value < 0 else min(value, MOST[name]) for name, value in hard.items()}
    values |= {"fsize": file_bytes or -1, "core": 0}
    return [docker.types.Ulimit(name=name, soft=value, hard=value) for name, value in values.items()]


def probe(image: str) -> str:
    """Why containers cannot be had, or nothing; starts one that does nothing."""
    try:
        engine = client()
        if any("rootless" in option for option in engine.info().get("SecurityOptions") or ()) and os.getuid():
            return "a rootless engine gives the workspace to other users; use one that runs as root"
        engine.images.get(image)
        container = create(engine, {**_NOTHING, "image": image})
        try:
            container.start()
            code = int(container.wait(timeout=30)["StatusCode"])
        finally:
            container.remove(force=True)
    except ImageNotFound:
        return f"the engine has no image {image}; pull or build it, or set AGENTGRID_DOCKER_IMAGE"
    except (DockerException, OSError) as error:
        return f"no container engine can be used ({str(error)[:250]}); start one, or set DOCKER_HOST"
    return "" if code == 0 else f"{image} has no python3 that runs (exit {code})"


def found(engine: docker.DockerClient, host: str) -> list[Any]:
    """Every container of a host directory, running or not."""
    return list(engine.containers.list(all=True, filters={"label": f"{HOST}={host}"}))


def remove(host: str, execution_ids: list[str]) -> None:
    """Kill and remove the containers of these executions."""
    for container in found(client(), host):
        if container.labels.get(EXECUTION) in execution_ids:
            with contextlib.suppress(NotFound, APIError):
                container.remove(force=True, v=True)


def main(words: list[str]) -> int:
    """Run one of the errands."""
    match words:
        case ["run", plan]:
            try:
                return run(Path(plan))
            except (DockerException, OSError) as error:
                print(f"the container could not be run: {error}", file=sys.stderr)
                return CANNOT_START
        case ["probe", image]:
            print(why_not := probe(image))
            return 1 if why_not else 0
        case ["list", host]:
            print(*{container.labels.get(EXECUTION, "") for container in found(client(), host)})
            return 0
        case ["remove", host, *ids]:
            remove(host, ids)
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    threads = threading.enumerate()
    os._exit(code) if len(threads) > 1 else sys.exit(code)
