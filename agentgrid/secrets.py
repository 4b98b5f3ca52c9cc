"""A secret that the embedded installation makes for itself."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from agentgrid.state_dir import make_private


def kept_secret(path: Path) -> str:
    """The secret in a file that only its owner may read, made when there is none; racing processes get the same one."""
    make_private(path.parent)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.exists():
        descriptor = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(fresh, path)  # whole or not at all; the first one stays
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()
