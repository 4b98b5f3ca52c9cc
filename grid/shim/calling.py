"""Calls to the nursery of a host directory: the caller's end of `grid.shim.nursery`."""

from __future__ import annotations

import json
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SOCKET = "nursery.sock"
PACKET_BYTES = 64 << 10


def peer(connection: socket.socket) -> tuple[int, int]:
    """Pid and uid at the other end, as the kernel knows them."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def connect(host_dir: str, timeout: float) -> socket.socket | None:
    """A connection to the nursery, or None when nobody listens."""
    try:
        directory = os.open(host_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Python's own timeout would make the socket non-blocking, and a full queue an error at once.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), int(timeout % 1 * 1e6)))
    try:
        client.connect(f"/proc/self/fd/{directory}/{SOCKET}")  # a socket's path ends at 107 bytes
        client.settimeout(timeout)
    except OSError:
        client.close()
        return None
    finally:
        os.close(directory)
    return client


def ask(host_dir: str, request: Mapping[str, Any], timeout: float) -> dict[str, Any] | None:
    """One request to the nursery: its answer, None when nobody listens, {} when the answer did not come."""
    client = connect(host_dir, timeout)
    if client is None:
        return None
    with client:
        try:
            client.send(json.dumps(request).encode())
            answer = json.loads(client.recv(PACKET_BYTES) or b"{}")
        except (OSError, ValueError):
            return {}
    return answer if isinstance(answer, dict) else {}
