"""Can this machine run a coding CLI? Found, version, what is missing, and one dry run against a model on loopback.

The dry run is a real one: our adapter, a shim, the CLI itself; only the model is a double, and HOME a folder thrown away.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grid import processes, programs
from grid.agents import base, outcome, registry
from grid.agents.pins import PINS, version_in
from grid.conf import GridConf, conf
from grid.fake_model.server import MODEL, FakeModel
from grid.host.watch import ended_of
from grid.phases import Ended
from grid.processes import ShimSpec, ShimState, StartCode
from grid.public_errors import GridError
from grid.public_types import CliCheck
from grid.spool import SpoolReader

VERSION_SECONDS = 30.0
"""Some take five seconds to say which version they are."""
DRY_RUN_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_FILE = "dry-run.txt"
_STEPS: list[dict[str, Any]] = [
    {"text": "I write it.", "calls": [{"shell": f"echo works > {_FILE}"}]},
    {"text": f"Wrote {_FILE}."},
]
_PROMPT = f"Write the word works into the file {_FILE}, then end."
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY")
_ADDRESSES: Mapping[str, str] = {"claude": "", "codex": "/v1", "opencode": "/v1", "gemini": ""}
"""Where each looks for its API below the double's own address."""


def check(name: str, *, dry_run: bool = True) -> CliCheck:
    """Look at one CLI, by the name of its adapter; `builtin` and `command` only have a dry run.

    Args:
        dry_run: Also let it write one file, which takes up to a minute.
    """
    settings = conf()
    pin = PINS.get(name)
    facts = _Facts(name=name)
    if pin is not None:
        facts.accepted = pin.accepted
        facts.path = shutil.which(pin.program, path=settings.agent_path) or ""
        if not facts.path:
            facts.missing.append(f"{pin.program} is in none of the folders of AGENTGRID_AGENT_PATH; {_hint(name)}")
        facts.missing += [
            f"{need} is not in PATH" for need in pin.needs if not shutil.which(need, path=settings.agent_path)
        ]
        if facts.path and not facts.missing:
            facts.version = _version(facts.path, settings, facts.missing)
            facts.is_accepted = pin.accepts(facts.version)
            if facts.version and not facts.is_accepted:
                facts.missing.append(f"version {facts.version} is outside {pin.accepted}; {_hint(name)}")
    if dry_run and (facts.is_accepted or pin is None):
        began = time.monotonic()
        facts.dry_run = _dry_run(name, settings)
        facts.seconds = round(time.monotonic() - began, 1)
    return facts.view(asked=dry_run)


@dataclass(slots=True, kw_only=True)
class _Facts:
    name: str
    path: str = ""
    version: str = ""
    accepted: str = ""
    is_accepted: bool = False
    missing: list[str] = field(default_factory=list)
    dry_run: str | None = None
    """What went wrong; empty: nothing. None: not tried."""
    seconds: float = 0.0

    def view(self, *, asked: bool) -> CliCheck:
        works = not self.missing and (self.dry_run == "" or not asked)
        return CliCheck(
            name=self.name,
            path=self.path,
            version=self.version,
            accepted=self.accepted,
            missing=tuple(self.missing),
            dry_run=self.dry_run,
            seconds=self.seconds,
            works=works,
        )


def _hint(name: str) -> str:
    return f"manage.py agents install {name}"


def _version(path: str, settings: GridConf, missing: list[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="agents-check-") as folder:
        env = {"PATH": settings.agent_path, "HOME": folder, "TERM": "dumb"}
        try:
            ran = programs.run([path, "--version"], cwd=Path(folder), env=env, timeout=VERSION_SECONDS)
        except GridError as error:
            missing.append(str(error))
            return ""
    version = version_in(ran.output) if ran.code == 0 else ""
    if not version:
        missing.append(f"{path} --version ended with {ran.code}: {ran.output.strip()[-200:] or 'no output'}")
    return version


def _dry_run(name: str, settings: GridConf) -> str:
    """Let it write one file; what went wrong, or empty."""
    with FakeModel(_STEPS) as model, _folder(settings) as folder:
        options: dict[str, Any] = {"model": MODEL, "base_url": model.url + _ADDRESSES.get(name, "")}
        if name == "builtin":
            options = {"model": f"openai:{MODEL}", "base_url": f"{model.url}/v1"}
        if name == "command":
            options = {"command": f"echo works > {_FILE}"}
        try:
            return _run(name, options, folder, settings)
        except (GridError, OSError) as error:
            return str(error)


def _run(name: str, options: Mapping[str, Any], folder: Path, settings: GridConf) -> str:
    adapter = registry.get(name)
    run_dir, workspace, home = folder / "run", folder / "workspace", folder / "home"
    for made in (run_dir, workspace, home):
        made.mkdir()
    files = base.RunFiles(workspace=workspace, home=home, python=settings.python, path=settings.agent_path)
    launch = adapter.launch(options=options, files=files, prompt=_PROMPT)
    for relative, data in launch.files.items():
        target = home / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (run_dir / "prompt").write_bytes(launch.prompt)
    spec = ShimSpec(
        run_dir=run_dir,
        cwd=workspace,
        prompt=run_dir / "prompt",
        argv=launch.argv,
        env={**launch.env, **dict.fromkeys(_KEYS, "dry-run")},
        limits={"wall_s": DRY_RUN_SECONDS, "idle_s": DRY_RUN_SECONDS, "output_bytes": 8 << 20},
        lease_at=processes.boottime(),
        lease_ttl_s=2 * DRY_RUN_SECONDS,
    )
    code = processes.start_shim(
        host_dir=folder / "host", spec_path=processes.write_spec(run_dir, spec), python=settings.python
    )
    if code == StartCode.FAILED:
        return f"the shim failed: {(run_dir / 'shim.log').read_text()[-300:]}"
    parser, ended = adapter.parser(), Ended(reason="killed", error="the shim died")
    for record in _records(run_dir):
        if record["t"] in ("out", "err"):
            parser.feed(record["t"], str(record.get("line", "")))
        elif record["t"] == "exit":
            ended = ended_of(record)
    written = (workspace / _FILE).is_file()
    report = outcome.read_outcome_file(workspace)
    verdict = adapter.verdict(parser=parser, ended=ended, outcome_file=report, changed=written)
    if name == "builtin" and written:
        return ""  # the double does not know the tool `finish`: that it got this far is what was asked
    return "" if verdict.ok and written else verdict.reason


def _records(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Every record of the spool, until the shim is gone."""
    reader = SpoolReader(run_dir / "spool.jsonl")
    deadline = time.monotonic() + 1.5 * DRY_RUN_SECONDS
    is_over = False
    while True:
        found = reader.read()
        yield from found
        if not found and (is_over or time.monotonic() > deadline):
            return
        is_over = processes.shim_state(run_dir) == ShimState.GONE
        if not found and not is_over:
            time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def _folder(settings: GridConf) -> Iterator[Path]:
    """A folder for one run, outside /tmp where Codex keeps no helpers; nothing in it outlives the run."""
    place = settings.state_dir / "checks"
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="dry-", dir=place))
    try:
        yield folder
    finally:
        processes.end_shim(folder / "run")
        processes.retire_nursery(folder / "host")
        shutil.rmtree(folder, ignore_errors=True)
