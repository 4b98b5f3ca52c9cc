"""Running git: the one place that starts it.

Every call gets an environment of its own (nothing of ours is inherited, so no secret can leak into a hook, a helper or an
error), configuration that executes nothing, a time limit and a bound on what is kept of its output.

Text is UTF-8 with `surrogateescape`, so that path names of any bytes survive the way through Python and back.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from grid.conf import conf
from grid.public_errors import WorkspaceError

NAME = "agent-grid"
EMAIL = "agent@agent-grid.invalid"
"""Who made the commits that the grid makes itself."""

NO_COMMIT = "0" * 40
"""What `update-ref` and `push` call "this ref must not exist"."""

_ERROR_TAIL = 4000
_CHUNK = 1 << 16

# `-c` outranks every file, so these hold whatever a repository's own configuration says.
_SAFE_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "advice.detachedHead=false",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One git command, not yet started."""

    args: Sequence[str]
    git_dir: Path | None = None
    """The repository. None only for commands that need none, such as `ls-remote`."""
    work_tree: Path | None = None
    env_extra: Mapping[str, str] = field(default_factory=dict)
    owner: tuple[int, int] | None = None
    """Uid and gid to run as; None keeps ours. Needs root."""
    config: Sequence[str] = ()
    """Further `name=value` settings, which outrank every file."""
    descriptors: Sequence[int] = ()
    """Open files of ours that the command inherits under the same numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What an ended command (or pipeline) left."""

    codes: tuple[int, ...]
    """Exit status of each command, negative for a signal."""
    output: str
    errors: str
    """The last lines written to standard error, at most 4,000 characters."""
    truncated: bool
    """Whether `output` was cut at the limit; the command was ended then."""

    @property
    def ok(self) -> bool:
        """Whether every command exited 0."""
        return not any(self.codes)


def run(
    args: Sequence[str],
    *,
    git_dir: Path | None = None,
    work_tree: Path | None = None,
    env_extra: Mapping[str, str] | None = None,
    owner: tuple[int, int] | None = None,
    timeout: float = 60,
    stdin: str = "",
    limit: int = 64 << 20,
) -> str:
    """Run one git command (`args` without `git` itself) to its end and return its standard output.

    After `timeout` seconds it is killed with its children. `limit` is the number of bytes of output that are accepted.

    Raises:
        WorkspaceError: It failed, took too long or printed too much; the message names the command and git's last lines.
    """
    command = Command(args=args, git_dir=git_dir, work_tree=work_tree, env_extra=env_extra or {}, owner=owner)
    return checked(command, completed=execute(command, timeout=timeout, stdin=stdin, limit=limit)).output


def checked(*commands: Command, completed: Completed) -> Completed:
    """Return `completed` if all went well.

    Raises:
        WorkspaceError: A command failed or printed too much.
    """
    name = " | ".join(f"git {command.args[0]}" for command in commands)
    if completed.truncated:
        raise WorkspaceError(f"{name} printed more than the accepted {len(completed.output)} bytes")
    if not completed.ok:
        status = ", ".join(str(code) for code in completed.codes)
        raise WorkspaceError(f"{name} failed (status {status}): {completed.errors.strip() or 'no message'}")
    return completed


def execute(*commands: Command, timeout: float = 60, stdin: str = "", limit: int = 64 << 20) -> Completed:
    """Run one command, or several as a pipeline, and report how they ended.

    `stdin` goes to the first command. Of the last one's output, `limit` bytes are kept; what prints more is ended and
    marked `truncated`.

    Raises:
        WorkspaceError: Git could not be started or ran out of time.
    """
    processes: list[subprocess.Popen[bytes]] = []
    error_out, error_in = os.pipe()
    try:
        try:
            for command in commands:
                upstream = processes[-1].stdout if processes else subprocess.PIPE
                processes.append(_start(command, stdin=upstream, stderr=error_in))
                if len(processes) > 1:
                    _close(processes[-2].stdout)
        except OSError as error:
            raise WorkspaceError(f"cannot start git ({conf().git}): {error}; install git or set GIT") from error
        finally:
            os.close(error_in)
        deadline = time.monotonic() + timeout
        output, errors, complete = _exchange(
            processes, error_out=error_out, data=_encode(stdin), deadline=deadline, limit=limit
        )
        if complete:
            codes = tuple(_wait(process, deadline) for process in processes)
        else:
            codes = tuple(_end(process) for process in processes)
    except TimeoutError:
        names = " | ".join(f"git {command.args[0]}" for command in commands)
        raise WorkspaceError(f"{names} did not end within {timeout:g} s") from None
    finally:
        os.close(error_out)
        for process in processes:
            _end(process)
    return Completed(codes=codes, output=_decode(output), errors=_decode(errors), truncated=not complete)


def _start(command: Command, *, stdin: int | IO[bytes] | None, stderr: int) -> subprocess.Popen[bytes]:
    """Start one command in a session of its own, so that a Ctrl-C for us does not end it halfway."""
    binary = conf().git
    argv = [binary]
    for setting in (*_SAFE_CONFIG, *command.config):
        argv += ["-c", setting]
    if command.git_dir is not None:
        argv.append(f"--git-dir={command.git_dir}")
    if command.work_tree is not None:
        argv.append(f"--work-tree={command.work_tree}")
    argv += command.args
    uid, gid = command.owner or (None, None)
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=command.work_tree or "/",
        env=_environment(binary) | dict(command.env_extra),
        pass_fds=tuple(command.descriptors),
        start_new_session=True,
        umask=0o022,
        user=uid,
        group=gid,
        extra_groups=None if uid is None else [],
    )


def _environment(binary: str) -> dict[str, str]:
    return {
        "PATH": f"{Path(binary).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "GIT_AUTHOR_NAME": NAME,
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_COMMITTER_NAME": NAME,
        "GIT_COMMITTER_EMAIL": EMAIL,
    }


def _exchange(
    processes: Sequence[subprocess.Popen[bytes]], *, error_out: int, data: bytes, deadline: float, limit: int
) -> tuple[bytes, bytes, bool]:
    """Feed the first command and read from the last until both streams end.

    Returns:
        Output, the tail of the errors, and whether the output ended within the limit.
    """
    first_in, last_out = processes[0].stdin, processes[-1].stdout
    assert first_in is not None  # noqa: S101 - both are pipes, see _start; for mypy
    assert last_out is not None  # noqa: S101
    output, errors, left = bytearray(), b"", memoryview(data)
    with selectors.DefaultSelector() as selector:
        selector.register(last_out, selectors.EVENT_READ)
        selector.register(error_out, selectors.EVENT_READ)
        if left:
            os.set_blocking(first_in.fileno(), False)
            selector.register(first_in, selectors.EVENT_WRITE)
        else:
            _close(first_in)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is first_in:
                    left = left[_write(key.fd, left[:_CHUNK]) :]
                    if not left:
                        selector.unregister(first_in)
                        _close(first_in)
                    continue
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is last_out:
                    output += chunk
                    if len(output) > limit:
                        return bytes(output[:limit]), errors, False
                else:
                    errors = (errors + chunk)[-_ERROR_TAIL:]
    return bytes(output), errors, True


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int:
    """Exit status of a command that has closed its output; `Popen.wait(timeout)` polls, which costs half a millisecond."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(1000 * max(0.1, deadline - time.monotonic())):
            raise TimeoutError
    finally:
        os.close(descriptor)
    return process.wait()


def _write(descriptor: int, data: memoryview) -> int:
    """Write what fits. A command that no longer reads gets nothing more: its exit status tells why."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Take down the command with its children (`fetch` starts several) unless it has ended, and release its pipes."""
    if process.poll() is None:
        for signal_number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
    _close(process.stdin)
    _close(process.stdout)
    return process.returncode if process.returncode is not None else -signal.SIGKILL


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
