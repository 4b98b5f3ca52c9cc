"""Commands to one shim: JSON datagrams on a Unix socket in its run directory. Both ends."""

from __future__ import annotations

import json
import os
import socket
import struct

from grid.shim.reaper import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MESSAGE_BYTES = 64 << 10


class Listener:
    """The shim's end. Commands from an agent's own tree are refused: nobody renews the lease he lives on.

    Args:
        keeper: The nursery that forked this shim, or 0. While it lives, agents of the other shims below it are refused
            as well.
    """

    def __init__(self, keeper: int = 0) -> None:
        self.keeper = keeper
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("control.sock")  # relative, as a socket's path ends at 107 bytes

    def fileno(self) -> int:
        """For poll."""
        return self.socket.fileno()

    def receive(self) -> tuple[dict[str, Any], str | bytes | None]:
        """Return the next command, or one that says why it was refused, and where the answer goes."""
        data, ancillary, _, sender = self.socket.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(12))
        pid, uid, _ = struct.unpack("3i", ancillary[0][2][:12]) if ancillary else (0, -1, -1)
        if pid <= 0 or uid not in (0, os.geteuid()) or self.is_agent(pid):
            return {"op": "refuse", "why": f"process {pid} of user {uid} may not command"}, sender
        try:
            command = json.loads(data)
        except (ValueError, RecursionError):
            command = None
        return command if isinstance(command, dict) else {"op": "refuse", "why": "not a JSON object"}, sender

    def is_agent(self, pid: int) -> bool:
        """Whether a process belongs to our agent, or to one of a shim beside us."""
        beside = self.keeper and os.getppid() == self.keeper and is_below(pid, self.keeper)
        return bool(beside) or is_below(pid, os.getpid())

    def answer(self, facts: Mapping[str, Any], sender: str | bytes | None) -> None:
        """Reply once; a sender that is gone or full learns by its next command."""
        try:
            if sender:
                self.socket.sendto(json.dumps(facts).encode(), sender)
        except OSError:
            pass


def send(run_dir: str, command: Mapping[str, Any], timeout: float = 1.0) -> dict[str, Any] | None:
    """The host's end: one command, one answer; None when the shim is gone, stopped or too busy to answer in time."""
    try:
        directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(timeout)
            client.bind("")  # an abstract name, chosen by the kernel
            client.sendto(json.dumps(command).encode(), f"/proc/self/fd/{directory}/control.sock")
            answer = json.loads(client.recv(MESSAGE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        os.close(directory)
    return answer if isinstance(answer, dict) else None
