"""The strict reader of YAML that the toolkit brings, under the names that this package uses. Pure."""

from __future__ import annotations

from grid.public_toolkit import Document, Path, Problem, UnreadableError, nearest_line, shortened
from grid.public_toolkit import read_yaml as read

__all__ = ["Document", "Path", "Problem", "UnreadableError", "nearest_line", "read", "shortened"]
