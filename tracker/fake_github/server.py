"""The fake GitHub as a server on this machine."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tracker.fake_github.handler import Handler
from tracker.fake_github.listener import Listener
from tracker.fake_github.traffic import Traffic
from tracker.fake_github.world import World

_BATCH_SECONDS = 0.02
_SHUFFLED_BATCH_SECONDS = 0.3
_JOIN_SECONDS = 5


class FakeGithub:
    """A GitHub of one's own: the API at the root, git at `/<owner>/<name>.git`, on 127.0.0.1 only."""

    def __init__(self, server: Listener, world: World, traffic: Traffic) -> None:
        self._server = server
        self.world = world
        self.traffic = traffic
        """`[method, path template, request, status, response]` of every API request; of the last 20,000."""
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), name="fake-github", daemon=True),
            threading.Thread(target=self._deliver, name="fake-github-webhooks", daemon=True),
        ]

    @classmethod
    def start(cls, git_root: Path | None = None, port: int = 0, *, record: Path | None = None) -> Self:
        """Start on threads of this process.

        Args:
            git_root: Folder for bare repositories; None: repositories without git.
            port: 0 takes a free one.
            record: File that gets one JSON line for each API request.
        """
        traffic = Traffic(record)
        try:
            server = Listener(port, Handler)
        except BaseException:
            traffic.close()
            raise
        url = f"http://127.0.0.1:{server.server_port}"
        world = World(url=url, git_root=None if git_root is None else git_root.resolve())
        server.world, server.traffic = world, traffic
        made = cls(server, world, traffic)
        for thread in made._threads:
            thread.start()
        return made

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`: PyGithub's `base_url`."""
        return self.world.url

    def stop(self) -> None:
        """End the server with its connections and threads; twice is once."""
        if self._server.stopping.is_set():
            return
        self._server.stopping.set()
        self.world.something_queued.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        self.traffic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _deliver(self) -> None:
        while not self._server.stopping.is_set():
            # Polled, because `auto_deliver` may be switched on while something waits already.
            self.world.something_queued.wait(0.2)
            shuffled = any(hook.shuffle is not None for hook in list(self.world.hooks.values()))
            stopping = self._server.stopping.wait(_SHUFFLED_BATCH_SECONDS if shuffled else _BATCH_SECONDS)
            if self.world.auto_deliver and not stopping:
                self.world.deliver()
