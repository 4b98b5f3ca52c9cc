"""Programs that stand in for agents' CLIs: options of an adapter that start one of them in a given scenario."""

from __future__ import annotations

import functools
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

_STAND_IN = Path(__file__).with_name("stand_in.py")
_FOLDER = tempfile.TemporaryDirectory(prefix="agent-doubles-")


@functools.cache
def program(name: str) -> str:
    """An executable file that behaves like the CLI of this name."""
    path = Path(_FOLDER.name) / name
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(_STAND_IN))} {name} "$@"\n')
    path.chmod(0o755)
    return str(path)


def options(name: str, scenario: str, **more: Any) -> dict[str, Any]:
    """Options with which the adapter of this name starts its stand-in."""
    if name == "acp":
        return {"argv": [program("acp"), scenario], **more}
    return {"program": program(name), "model": f"any/{scenario}" if name == "opencode" else scenario, **more}
