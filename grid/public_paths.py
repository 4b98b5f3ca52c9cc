"""What the rest of agent-grid may ask of the grid about paths and patterns of repositories. Pure; docs/locks.md."""

from __future__ import annotations

from collections.abc import Iterable

from grid.locks import patterns
from grid.locks.types import Answer, LockView

__all__ = ["Answer", "LockView", "check_pattern", "escaped", "pattern_covers", "patterns_overlap"]


def check_pattern(text: str) -> str:
    """The plain form of a path or pattern. Raises LockPatternError that says what would be right."""
    return patterns.parse(text).text


def escaped(path: str) -> str:
    """A path written so that it stands for itself alone, whatever characters are in it."""
    return patterns.escaped(path)


def pattern_covers(pattern: str, wish: str) -> bool:
    """Whether all that a path or pattern means belongs to another one. Raises LockPatternError."""
    one, other = patterns.parse(pattern), patterns.parse(wish)
    return patterns.covers(one, other) if other.is_glob else patterns.covers_file(one, other)


def patterns_overlap(ones: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of patterns of two lists that may mean the same file. Raises LockPatternError."""
    right = [patterns.parse(text) for text in others]
    left = [patterns.parse(text) for text in ones]
    return [(one.text, other.text) for one in left for other in right if patterns.overlap(one, other)]
