"""The socket that the fake GitHub listens on."""

from __future__ import annotations

import http.server
import socket
import socketserver
import threading
from typing import Any

from tracker.fake_github.traffic import Traffic
from tracker.fake_github.world import World

_JOIN_SECONDS = 5


class Listener(http.server.ThreadingHTTPServer):
    """One thread for each connection; knows what is open, so that stopping leaves nothing behind."""

    daemon_threads = True
    request_queue_size = 128
    world: World
    traffic: Traffic

    def __init__(self, port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection while its thread runs."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ended."""
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up; what views raise is answered by the handler."""

    def close_connections(self) -> None:
        """End what clients keep open, and wait for the threads behind it."""
        with self._changed:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the client was faster
            self._changed.wait_for(lambda: not self._connections, timeout=_JOIN_SECONDS)
