"""The stage that every demo plays on: a folder, the demo's repository, our commands and our workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Self

from agentgrid import supervisor

HERE = Path(__file__).resolve().parent
TITLE = "Add text statistics"
START_SECONDS = 30
_END_SECONDS = 1.0
_KEPT = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TERM", "COLUMNS", "NO_COLOR", "TMPDIR", "TZ"})


class DemoFailedError(Exception):
    """A step did not do what it should; the message says which, and where the logs are."""


class _Commands:
    """The demo's end of `agentgrid.demo.commands`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agentgrid.demo.commands", str(theirs.fileno())],
                cwd=supervisor.ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                preexec_fn=partial(supervisor.end_with_parent, os.getpid()),
            )

    def run(self, args: Sequence[str], streams: Sequence[IO[bytes]]) -> int:
        """Run one to its end; returns its exit code, or 1 when the process that runs them has ended."""
        try:
            socket.send_fds(self._control, [json.dumps({"args": args}).encode()], [file.fileno() for file in streams])
            code = self._control.recv(100)
        except OSError:
            code = b""
        return int(code or b"1")

    def close(self) -> None:
        """End the process, and a command that still runs after Ctrl-C."""
        self._control.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.terminate()  # the kernel passes that on to the command
            self._process.wait()


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything it makes is below `folder`, which it empties first; a `with` block ends what runs its commands."""

    folder: Path
    say: Callable[[str], None]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the environment for our processes."""
    _commands: _Commands | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._commands is not None:
            self._commands.close()
            self._commands = None

    def empty(self) -> None:
        """Make the folder an empty one of ours."""
        marker = self.folder / "demo"
        if self.folder.exists() and any(self.folder.iterdir()) and not marker.exists():
            raise DemoFailedError(f"{self.folder} is not empty and no demo of ours; give --folder an empty one")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        marker.touch()

    def repository(self) -> Path:
        """A fresh git repository from the files beside this module."""
        target = self.folder / "textkit"
        shutil.copytree(HERE / "repository", target, ignore=shutil.ignore_patterns("__pycache__"))
        for path in target.glob("dot-*"):
            path.rename(path.with_name("." + path.name.removeprefix("dot-")))
        self.git(target, "init", "-q", "-b", "main")
        self.commit(target, "A small library")
        return target

    def commit(self, repository: Path, message: str) -> None:
        """Commit everything in a repository."""
        self.git(repository, "add", "-A")
        self.git(repository, "commit", "-q", "-m", message)

    def git(self, repository: Path, *args: str) -> str:
        """Run git there and return what it printed."""
        identity = ("-c", "user.name=Demo", "-c", "user.email=demo@agent-grid.invalid")
        done = subprocess.run(
            ["git", *identity, *args],
            cwd=repository,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoFailedError(f"git {args[0]} failed: {done.stderr.strip()}")
        return done.stdout.rstrip()

    def manage(self, *args: str, quiet: bool = False, capture: bool = False) -> str:
        """Run one of our commands as a user would; its output goes to the terminal unless it is wanted here."""
        if not (quiet or capture):
            self.say(f"\n$ manage.py {' '.join(args)}")
        if self._commands is None:
            self._commands = _Commands(self.environment())
        with tempfile.TemporaryFile() as output:
            code = self._commands.run(args, [output] * (2 if quiet else int(capture)))
            output.seek(0)
            printed = output.read().decode(errors="replace")
        if code:
            raise DemoFailedError(f"`manage.py {args[0]}` ended with {code}; logs: {self.folder}/*.log\n{printed}")
        return printed

    @contextmanager
    def processes(self, kinds: Sequence[str], *, port: int = 8000) -> Iterator[None]:
        """Our processes as `manage.py up` would start them; stopped whatever happens."""
        running: list[subprocess.Popen[bytes]] = []
        try:
            for spec in supervisor.stack(kinds, broker_kind="gridfs", port=port):
                with (self.folder / f"{spec.name}.log").open("ab") as log:
                    running.append(supervisor.spawn(spec, environment=self.environment(), output=log.fileno()))
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

    def environment(self) -> Mapping[str, str]:
        """Ours without what points elsewhere: a demo must not touch the user's database, broker or keys."""
        return {
            **{name: value for name, value in os.environ.items() if name in _KEPT},
            "AGENTGRID_READ_DOTENV": "False",
            "AGENTGRID_STATE_DIR": str(self.folder / "state"),
            "AGENTGRID_SWEEP_SECONDS": "2",
            # The demo's acceptance is pytest, which comes with our own requirements; it does without the plugins beside it.
            "AGENTGRID_AGENT_PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "AGENTGRID_AGENT_ENV_ALLOW": "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "DJANGO_SETTINGS_MODULE": "agentgrid.settings",
            "PYTHONUNBUFFERED": "1",
            **self.variables,
        }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
