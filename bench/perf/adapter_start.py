"""What starting an agent costs before it is the agent's own business.

Two figures: making the command, environment and files of a run, of the slowest adapter; and a whole run of the built-in
agent whose model is done at once, beside a cold interpreter.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from bench.perf import processes
from bench.perf.figures import Figure, percentile, spread
from grid.public_testing import Launch, plan_start
from grid.public_types import AgentSpec

_SCRIPT = "steps:\n  - call: finish\n    args: {outcome: nothing_to_do, summary: Done.}\n"
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "builtin": {"model": "scripted", "script": _SCRIPT},
    "command": {"command": "true"},
    "claude": {"model": "claude-sonnet-4-5"},
    "codex": {"model": "gpt-5.2"},
    "opencode": {"model": "gpt-5.2", "base_url": "http://127.0.0.1:9/v1"},
    "gemini": {"model": "gemini-2.5-flash"},
    "acp": {"argv": ["true"]},
}
_PROFILE = {"name": "worker", "chain": ["worker"], "tools": ["read_file", "run_command"], "grid_tools": ["nudge"]}
_PROMPT = "Read the file, find the mistake, and say what it is. " * 100


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """Figures wiring and builtin."""
    samples, runs = int(params["samples"]), int(params["runs"])
    folder = Path(settings.STATE_DIR).parent / "start"
    (folder / "workspace").mkdir(parents=True)
    wired = {name: [_planned(name, folder)[1] for _ in range(samples)] for name in _OPTIONS}
    medians = {name: percentile(times, 0.5) for name, times in wired.items()}
    launch, _ = _planned("builtin", folder)
    for name, data in launch.files.items():
        (folder / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "home" / name).write_bytes(data)
    interpreter = (launch.argv[0], "-I", "-c", "")
    own, bare = list[float](), list[float]()
    for _ in range(runs):
        bare.append(_ms(lambda: _run(launch, interpreter, folder, "")))
        own.append(_ms(lambda: _run(launch, launch.argv, folder, launch.prompt.decode())))
    name = params["name"]
    return [
        Figure(
            name=f"{name}.wiring",
            unit="ms",
            value=max(medians.values()),
            extra={"samples": samples, "adapters": medians},
        ),
        Figure(
            name=f"{name}.builtin",
            unit="ms",
            value=percentile(own, 0.5),
            floor=percentile(bare, 0.5),
            extra={"runs": runs, "spread": spread(own), "floor_spread": spread(bare), "python": sys.version.split()[0]},
        ),
    ]


def _planned(name: str, folder: Path) -> tuple[Launch, float]:
    """What would be started, and the milliseconds that it took to find out."""
    spec = AgentSpec(adapter=name, options=_OPTIONS[name])
    began = time.perf_counter()
    launch = plan_start(spec, profile=_PROFILE, folder=folder, prompt=_PROMPT)
    return launch, (time.perf_counter() - began) * 1000


def _run(launch: Launch, argv: tuple[str, ...], folder: Path, given: str) -> None:
    processes.run(argv, environment=launch.env, seconds=60, folder=folder / "workspace", given=given)


def _ms(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000
