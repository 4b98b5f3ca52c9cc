"""What the egress proxy does with one connection: read a request's head, connect, carry bytes. Standard library only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from grid.sandboxes import egress

HEAD_BYTES = 32 << 10
HEAD_S = 30.0
CONNECT_S = 15.0
CHUNK_BYTES = 64 << 10

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RefusedError(Exception):
    """A connection that the rules do not allow; the words are for the agent and for people."""

    def __init__(self, place: str, why: str, status: str = "403 Forbidden") -> None:
        super().__init__(why)
        self.place, self.why, self.status = place, why, status


async def read_head(reader: asyncio.StreamReader) -> tuple[str, str, list[bytes]]:
    """Method, target and header lines of one request. Raises RefusedError for what is not plainly HTTP."""
    data = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
    first, *headers = data[:-4].split(b"\r\n")
    words = first.decode("latin-1").split(" ")
    if len(words) != 3 or any(b"\n" in line or b"\r" in line or line[:1] in b" \t" for line in (first, *headers)):
        raise RefusedError("", "not a request that can be understood", "400 Bad Request")
    return words[0], words[1], headers


def request_head(method: str, target: str, headers: list[bytes]) -> bytes:
    """A request as it goes on: one for each connection, so that every request is looked at."""
    dropped = (b"connection", b"proxy-connection", b"keep-alive", b"upgrade")
    kept = [line for line in headers if line.partition(b":")[0].strip().lower() not in dropped]
    return b"\r\n".join([f"{method} {target} HTTP/1.1".encode("latin-1"), *kept, b"Connection: close", b"", b""])


def place_of(authority: str, default: int) -> tuple[str, int]:
    """Host and port of an authority. Raises RefusedError."""
    try:
        return egress.split_place(authority, default=default)
    except ValueError as error:
        raise RefusedError(authority, str(error), "400 Bad Request") from error


async def opened(host: str, port: int) -> Streams:
    """A connection, in time."""
    return await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_S)


async def answer(writer: asyncio.StreamWriter, status: str, why: str) -> None:
    """Tell the client why not."""
    body = f"{why}\n".encode()
    with contextlib.suppress(OSError):
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()


async def carry(one: Streams, other: Streams) -> None:
    """Bytes in both directions until both are at their end, or one breaks."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    tasks = [asyncio.ensure_future(copy(one[0], other[1])), asyncio.ensure_future(copy(other[0], one[1]))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            with contextlib.suppress(OSError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        other[1].close()


def bound(folder: Path, name: str, mode: int = 0o600) -> socket.socket:
    """A listening socket that appears under its name only when it takes connections, in the place of an old one."""
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        scratch = f"/proc/self/fd/{directory}/.{name}.{os.getpid()}"  # a socket's path ends at 107 bytes
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)
        listener.bind(scratch)
        os.chmod(scratch, mode)
        listener.listen(128)
        os.rename(scratch, f"/proc/self/fd/{directory}/{name}")
    finally:
        os.close(directory)
    listener.setblocking(False)
    return listener
