"""Shell commands of the built-in agent: own process group, time limit, bounded output, ended when the run is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HEAD_BYTES = TAIL_BYTES = 16 * 1024
_GRACE_SECONDS = 2.0
_DRAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended."""

    how: str
    """`exit 0`, `signal 9`, `stopped after 300 s`, `interrupted`."""
    output: str
    """Standard output and error together, the middle cut out when long."""


class _Output:
    """Reads a pipe to its end and keeps the first and the last bytes.

    Not asyncio's own pipe: its `wait` returns only when the pipe is closed, which a background process can put off.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._head, self._tail, self._size = bytearray(), bytearray(), 0
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()
        self._loop.add_reader(fd, self._take)

    def _take(self) -> None:
        chunk = os.read(self._fd, 65_536)
        if not chunk:
            self._loop.remove_reader(self._fd)
            self.ended.set_result(None)
        self._size += len(chunk)
        room = max(0, HEAD_BYTES - len(self._head))
        self._head += chunk[:room]
        self._tail += chunk[room:]
        del self._tail[:-TAIL_BYTES]

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def text(self) -> str:
        cut = self._size - len(self._head) - len(self._tail)
        middle = f"\n[… {cut} bytes cut …]\n".encode() if cut else b""
        text = bytes(self._head + middle + self._tail).decode("utf-8", "replace")
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


async def run(
    command: str, *, cwd: Path, env: Mapping[str, str], timeout_seconds: float, stopping: asyncio.Event
) -> Ran:
    """Run `/bin/sh -c command`; whatever is left of its process group is killed afterwards.

    It is ended early when `stopping` is set.

    Raises:
        OSError: It could not be started, for example because it is too long.
        ValueError: It holds a NUL.
    """
    read_end, write_end = os.pipe()
    output = _Output(read_end)
    try:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
        os.close(write_end)
        write_end = -1
        how = await _wait(process, timeout_seconds, stopping)
        # What the command left in the background may hold the pipe open: it gets a moment, then it ends.
        await asyncio.wait({output.ended}, timeout=_DRAIN_SECONDS)
        _signal(process.pid, signal.SIGKILL)
        await asyncio.wait({output.ended}, timeout=_DRAIN_SECONDS)
        return Ran(how=how, output=output.text())
    finally:
        if write_end >= 0:
            os.close(write_end)
        output.close()


async def _wait(process: asyncio.subprocess.Process, timeout_seconds: float, stopping: asyncio.Event) -> str:
    """How the command ended, having ended it when it is time."""
    exited = asyncio.create_task(process.wait())
    stop = asyncio.create_task(stopping.wait())
    how = ""
    try:
        await asyncio.wait({exited, stop}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not exited.done():
            how = "interrupted" if stop.done() else f"stopped after {timeout_seconds:g} s"
            _signal(process.pid, signal.SIGTERM)
            await asyncio.wait({exited}, timeout=_GRACE_SECONDS)
    finally:
        stop.cancel()
        if not exited.done():
            _signal(process.pid, signal.SIGKILL)
    code = await exited
    return how or (f"exit {code}" if code >= 0 else f"signal {-code}")


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
