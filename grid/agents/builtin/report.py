"""What the built-in agent prints: one JSON object per line on standard output, the last of them its `result`."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

from pydantic_ai.messages import ToolReturnPart

from grid.agents.bounds import bounded

Status = Literal["ok", "failed", "interrupted", "limit"]


class Report:
    """Writer of the event lines. ASCII only, one write per line, so that lines are never torn or mixed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def emit(self, kind: str, **fields: Any) -> None:
        """Print one event, cut down to 16 KiB."""
        self._write({"type": kind, **bounded(fields)})

    def result(self, *, status: Status, outcome: dict[str, Any] | None, error: str, usage: dict[str, int]) -> None:
        """Print the terminal event; without it the run has failed, whatever the exit code says.

        `outcome` has the shape of `.agentgrid/outcome.json`; it is None, and `error` says why, unless the status is `ok`.
        """
        self._write({"type": "result", "status": status, "outcome": outcome, "error": error[:2_000], "usage": usage})

    def _write(self, event: dict[str, Any]) -> None:
        data = json.dumps(event).encode("ascii") + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]


def result_text(part: ToolReturnPart) -> str:
    """What a tool answered, as text."""
    return part.content if isinstance(part.content, str) else part.model_response_str()
