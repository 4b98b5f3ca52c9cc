"""`make demo`: a whole grid in a folder of its own, one small repository, one issue, from split to merge.

Everything is real but the model, which plays a script: real Celery workers, shims, git, pytest. The steps are the
commands that a user would type; each is shown before it runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgrid import supervisor

HERE = Path(__file__).resolve().parent
WORKERS = ("control", "executions", "beat")
TITLE = "Add text statistics"
WAIT_SECONDS = 150
START_SECONDS = 30


class DemoFailedError(Exception):
    """A step did not do what it should; the message says which, and where the logs are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One run of the demo.

    Everything it makes is below `folder`, which it empties first.
    """

    folder: Path
    say: Callable[[str], None]

    def run(self) -> dict[str, Any]:
        """Play it; returns the submitted issue's facts. Raises DemoFailedError."""
        began = time.monotonic()
        self._empty()
        repository = self._repository()
        self._manage("migrate", "--verbosity=0", quiet=True)
        self._manage("prepare_broker", quiet=True)
        with self._workers():
            command = ("submit", "--repo", str(repository), "--title", TITLE, "--body-file", str(HERE / "issue.md"))
            self._manage(*command, "--script", str(HERE / "script.yml"), "--wait", str(WAIT_SECONDS))
            self._manage("tree", "1", "--timeline")
            facts = json.loads(self._manage("tree", "1", "--json", capture=True))
        branch = next(agent["branch"] for agent in facts["agents"] if agent["parent_id"] is None)
        self.say("")
        self._git(repository, "log", "--oneline", "--graph", branch)
        seconds = time.monotonic() - began
        self.say(f"\nThe work is on branch {branch} of {repository} ({seconds:.0f} s).")
        self.say("Next: README.md, 'With your own repository'.")
        return {"branch": branch, "repository": str(repository), "seconds": round(seconds, 1), **facts}

    def _empty(self) -> None:
        marker = self.folder / "demo"
        if self.folder.exists() and any(self.folder.iterdir()) and not marker.exists():
            raise DemoFailedError(f"{self.folder} is not empty and no demo of ours; give --folder an empty one")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        marker.touch()

    def _repository(self) -> Path:
        """A fresh git repository from the files beside this module."""
        target = self.folder / "textkit"
        shutil.copytree(HERE / "repository", target, ignore=shutil.ignore_patterns("__pycache__"))
        for path in target.glob("dot-*"):
            path.rename(path.with_name("." + path.name.removeprefix("dot-")))
        for args in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "A small library"]):
            self._git(target, *args, quiet=True)
        return target

    def _git(self, repository: Path, *args: str, quiet: bool = False) -> None:
        identity = ("-c", "user.name=Demo", "-c", "user.email=demo@agent-grid.invalid")
        done = subprocess.run(
            ["git", *identity, *args],
            cwd=repository,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoFailedError(f"git {args[0]} failed: {done.stderr.strip()}")
        if not quiet:
            self.say(done.stdout.rstrip())

    def _manage(self, *args: str, quiet: bool = False, capture: bool = False) -> str:
        """Run one of our commands as a user would; its output goes to the terminal unless it is wanted here."""
        if not (quiet or capture):
            self.say(f"\n$ manage.py {' '.join(args)}")
        done = subprocess.run(
            [sys.executable, str(supervisor.ROOT / "manage.py"), *args],
            env=self._environment(),
            cwd=supervisor.ROOT,
            stdout=subprocess.PIPE if quiet or capture else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoFailedError(
                f"`manage.py {args[0]}` ended with {done.returncode}; logs: {self.folder}/*.log\n{done.stdout or ''}"
            )
        return done.stdout or ""

    @contextmanager
    def _workers(self) -> Iterator[None]:
        """Real Celery workers as `manage.py up` would start them; stopped whatever happens."""
        running: list[subprocess.Popen[bytes]] = []
        try:
            for spec in supervisor.stack(WORKERS, broker_kind="gridfs"):
                with (self.folder / f"{spec.name}.log").open("ab") as log:
                    running.append(supervisor.spawn(spec, environment=self._environment(), output=log.fileno()))
            self._wait_for_host(running)
            yield
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                try:
                    process.wait(supervisor.STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _wait_for_host(self, running: list[subprocess.Popen[bytes]]) -> None:
        """The host opens the nursery's socket once it takes work."""
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / "state" / "host" / "nursery.sock").exists():
            if time.monotonic() > deadline or any(process.poll() is not None for process in running):
                raise DemoFailedError(f"the workers did not start; logs: {self.folder}/*.log")
            time.sleep(0.05)

    def _environment(self) -> Mapping[str, str]:
        """Ours without what points elsewhere: a demo must not touch the user's database, broker or keys."""
        kept = {name: value for name, value in os.environ.items() if name in KEPT}
        return {
            **kept,
            "AGENTGRID_READ_DOTENV": "False",
            "AGENTGRID_STATE_DIR": str(self.folder / "state"),
            "AGENTGRID_SWEEP_SECONDS": "2",
            # The demo's acceptance is pytest, which comes with our own requirements.
            "AGENTGRID_AGENT_PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "DJANGO_SETTINGS_MODULE": "agentgrid.settings",
            "PYTHONUNBUFFERED": "1",
        }


KEPT = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TERM", "COLUMNS", "NO_COLOR", "TMPDIR", "TZ"})
