"""The client's standard input: the prompt in the first line, messages for the agent in those that follow while it works.

{"type": "prompt", "text": "…"}
{"type": "message", "id": "…", "from": "cli:ann", "text": "…"}
"""

from __future__ import annotations

import json
import os
import threading

from grid.agents.acp_client.client import print_line

_MAX_LINE_BYTES = 8 << 20
_CHUNK_BYTES = 65_536


class Lines:
    """Lines of a file descriptor.

    Not Python's own buffered reader: a thread that waits in one keeps a lock, on which the interpreter aborts at its end.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._rest = fd, b""

    def next(self) -> bytes:
        """The next line, waiting for it; empty at the end, and for a line that is too long to be ours."""
        while b"\n" not in self._rest:
            chunk = os.read(self._fd, _CHUNK_BYTES)
            if not chunk or len(self._rest) > _MAX_LINE_BYTES:
                break
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def read_prompt(lines: Lines) -> str:
    """The prompt. Raises ValueError when there is none."""
    line = lines.next()
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

    def listen(self, lines: Lines) -> None:
        """Collect messages from now on; a thread, as standard input may be a file or a pipe."""
        threading.Thread(target=self._read, args=(lines,), name="inbox", daemon=True).start()

    def add(self, words: str) -> None:
        """Something of this program's own for the agent, at the end of its turn."""
        with self._lock:
            self._waiting.append(("", words))

    def take(self) -> str:
        """All that wait, as words for the agent, and tell that it has them; empty: none."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        for key in filter(None, (key for key, _ in taken)):
            print_line({"type": "inbox", "id": key, "state": "seen"})
        return "\n\n".join(words for _, words in taken)

    def _read(self, lines: Lines) -> None:
        while line := lines.next():
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
