"""The client's standard input: the prompt in the first line, messages for the agent in those that follow while it works.

{"type": "prompt", "text": "…"}
{"type": "message", "id": "…", "from": "cli:ann", "text": "…"}
"""

from __future__ import annotations

import json
import threading
from typing import BinaryIO

from grid.agents.acp_client.client import print_line

_MAX_LINE_BYTES = 8 << 20


def read_prompt(stream: BinaryIO) -> str:
    """The prompt. Raises ValueError when there is none."""
    line = stream.readline(_MAX_LINE_BYTES)
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("the first line of standard input is no prompt") from error
    if not isinstance(text, str) or not text.strip():
        raise ValueError("there is no prompt on standard input")
    return text


class Inbox:
    """Messages that wait for the end of the agent's turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, str]] = []
        self._seen: set[str] = set()

    def listen(self, stream: BinaryIO) -> None:
        """Collect messages from now on; a thread, as standard input may be a file or a pipe."""
        threading.Thread(target=self._read, args=(stream,), name="inbox", daemon=True).start()

    def take(self) -> str:
        """All that wait, as words for the agent, and tell that it has them; empty: none."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        for key, _ in taken:
            print_line({"type": "inbox", "id": key, "state": "seen"})
        return "\n\n".join(words for _, words in taken)

    def _read(self, stream: BinaryIO) -> None:
        while line := stream.readline(_MAX_LINE_BYTES):
            try:
                message = json.loads(line)
                key, words = str(message["id"])[:100], str(message["text"])
                sender = str(message.get("from", ""))[:100]
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # nobody but our own host writes here
            with self._lock:
                if key not in self._seen:
                    self._seen.add(key)
                    self._waiting.append((key, f"Message from {sender or 'the grid'}: {words}"))
