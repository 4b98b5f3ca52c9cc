"""The pipes between a shim and its agent."""

from __future__ import annotations

import os
import select

INPUT_BYTES = 64 << 10
"""With so much unread, the agent is told nothing more."""


def output_pipe() -> tuple[int, int]:
    """A pipe whose reading end never blocks."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    return reader, writer


class Input:
    """The agent's stdin, when it is a pipe that stays open for messages; a prompt file could never block."""

    def __init__(self, poll: select.poll) -> None:
        self.poll = poll
        self.fd = -1
        self.waiting = b""

    @property
    def takes_more(self) -> bool:
        """Whether there is a pipe and the agent reads it."""
        return self.fd >= 0 and len(self.waiting) < INPUT_BYTES

    def replace(self, prompt: int) -> int:
        """Read and close the prompt file; return the agent's end of a pipe that will bring it."""
        with open(prompt, "rb") as file:
            self.waiting = file.read()
        reader, self.fd = os.pipe()
        os.set_blocking(self.fd, False)
        return reader

    def add(self, message: bytes) -> None:
        """Queue one message and write what fits."""
        self.waiting += message
        self.feed()

    def feed(self) -> None:
        """Write what the agent takes now and let poll tell when it takes more."""
        if self.fd < 0:
            return
        try:
            while self.waiting:
                self.waiting = self.waiting[os.write(self.fd, self.waiting) :]
        except BlockingIOError:
            self.poll.register(self.fd, select.POLLOUT)
            return
        except BrokenPipeError:
            self.waiting = b""
        try:
            self.poll.unregister(self.fd)  # an idle pipe whose reader is gone would never stop calling
        except KeyError:
            pass
