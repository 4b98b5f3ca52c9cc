"""Paths and patterns of a repository: one plain form, and whether two of them can mean the same file. Pure.

A path means a file or a folder with all that is below it. `*` and `?` match within one name, `[…]` one character of it, a name
of `**` alone matches any number of names. A backslash takes the meaning off the next character; `escaped` does it for a path.

Two questions, each answered carefully for its use: `overlap` says yes in doubt, `covers` says no in doubt.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from grid.public_errors import LockPatternError

MAX_CHARACTERS, MAX_KEY_BYTES = 400, 1_600
MAX_NAMES = 60
_SPECIAL = "*?[]{}\\"
_DEEP = "**"
_ESCAPE = re.compile(r"\\.")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\u2028\u2029]")
_RESERVED = ".git"

ANY = "\0"
"""In a name as tokens: any text, none included. Nothing that a path may hold."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path or pattern in its plain form."""

    text: str
    """As spelled, without `./`, `..`, double and trailing slashes; `.` is the whole repository."""
    key: str
    """For comparing: spellings that some file system takes for one name have one key. Empty: the whole repository."""
    is_glob: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names between the slashes of `key`."""
        return tuple(self.key.split("/")) if self.key else ()


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Pattern:
    """The plain form of what somebody wrote.

    Raises:
        LockPatternError: It is no path of a repository; the message says what would be right.
    """
    if not text or not text.strip():
        raise LockPatternError("the path is empty; name a file, a folder, or a pattern such as 'src/*.py'")
    if len(text) > MAX_CHARACTERS:
        raise LockPatternError(f"the path has {len(text)} characters; at most {MAX_CHARACTERS} are taken")
    if _UNSAFE.search(text):
        raise LockPatternError("the path holds a control character or half of a surrogate pair; write the path alone")
    if text.startswith("/"):
        raise LockPatternError(f"'{_shown(text)}' is absolute; give it relative to the root of the repository")
    names = _plain_names(text)
    if len(names) > MAX_NAMES:
        raise LockPatternError(f"the path has {len(names)} names; at most {MAX_NAMES} are taken")
    is_glob = any(_is_glob(name) for name in names)
    key = "/".join(map(_key_of_glob if is_glob else _key_of_name, names))
    if len(key.encode()) > MAX_KEY_BYTES:
        raise LockPatternError(f"the path is longer than {MAX_KEY_BYTES} bytes; lock the folder above it")
    return Pattern(text="/".join(names) or ".", key=key, is_glob=is_glob)


def literal(path: str) -> Pattern:
    """The plain form of a path in which no character means more than itself, as git names it. Raises LockPatternError."""
    return parse(escaped(path))


def escaped(path: str) -> str:
    """A path written so that it stands for itself alone: every special character gets a backslash."""
    return "".join(f"\\{character}" if character in _SPECIAL else character for character in path)


def overlap(one: Pattern, other: Pattern) -> bool:
    """Whether some file can belong to both. In doubt it can."""
    if not one.is_glob and not other.is_glob:
        short, long = sorted((one.names, other.names), key=len)
        return long[: len(short)] == short
    return _meet(_tokens_of(one), _tokens_of(other))


def same(one: Pattern, other: Pattern) -> bool:
    """Whether both are one and the same wish: of paths the key counts; keys of globs leave too much out for that."""
    if one.is_glob or other.is_glob:
        return one.is_glob and other.is_glob and one.text == other.text
    return one.key == other.key


def covers(one: Pattern, other: Pattern) -> bool:
    """Whether every file of the second belongs to the first. In doubt it does not."""
    if same(one, other):
        return True
    if one.is_glob:
        return False
    names = one.names
    if not other.is_glob:
        return other.names[: len(names)] == names
    head = tuple(_unescaped(name) for name in _before_first_glob(other.names))
    return head[: len(names)] == names


def covers_file(one: Pattern, file: Pattern) -> bool:
    """Whether a path, written as itself, belongs to a pattern; for a glob as near as `overlap` tells it."""
    return overlap(one, file) if one.is_glob else covers(one, file)


def _plain_names(text: str) -> list[str]:
    names: list[str] = []
    for name in text.split("/"):
        if name == "..":
            if not names:
                raise LockPatternError(f"'{_shown(text)}' leaves the repository; give a path below its root")
            if _is_glob(names[-1]):
                raise LockPatternError(f"'{_shown(text)}' goes up from a pattern; write where it leads")
            names.pop()
        elif name not in ("", "."):
            names.append(_checked(name, text))
    return names


def _checked(name: str, text: str) -> str:
    if len(name) - len(name.rstrip("\\")) & 1:
        raise LockPatternError(f"'{_shown(text)}' has a backslash before nothing; write \\\\ for a backslash in a name")
    bare = _bare(name)
    if "{" in bare or "}" in bare:
        raise LockPatternError(
            "braces have no meaning here; ask for each alternative, or write \\{ for a brace in a name"
        )
    if _folded(_unescaped(name)) == _RESERVED:
        raise LockPatternError("nothing below .git can be locked; it is not part of the repository's files")
    return name


def _is_glob(name: str) -> bool:
    return any(character in "*?[" for character in _bare(name))


def _bare(name: str) -> str:
    """A name without what a backslash has taken the meaning of."""
    return _ESCAPE.sub("", name) if "\\" in name else name


def _before_first_glob(names: tuple[str, ...]) -> tuple[str, ...]:
    head: list[str] = []
    for name in names:
        if _is_glob(name):
            break
        head.append(name)
    return tuple(head)


def _folded(name: str) -> str:
    """A name for comparing: two that differ in case or in how letters are composed alone are one.

    Decomposed, as then each character of a name is folded by itself, whatever stands beside it.
    """
    before, now = "", name
    while before != now:
        before = now
        now = unicodedata.normalize("NFD", unicodedata.normalize("NFD", now).casefold())
    return now


def _key_of_name(name: str) -> str:
    return _folded(_unescaped(name))


def _key_of_glob(name: str) -> str:
    """Escapes stay, as they say what is meant; a glob with letters beyond ASCII is as good as `*`."""
    if name == _DEEP:
        return name
    if _is_glob(name):
        return name.lower() if name.isascii() else "*"
    return escaped(_folded(_unescaped(name)))


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name) if "\\" in name else name


def _shown(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


@functools.lru_cache(maxsize=4096)
def _tokens_of(pattern: Pattern) -> tuple[str, ...]:
    """Each name as characters and ANY; a name of `**` is ANY twice."""
    if not pattern.is_glob:
        return pattern.names
    return tuple(ANY + ANY if name == _DEEP else _tokens(name) for name in pattern.names)


def _tokens(name: str) -> str:
    """A name with ANY for what may be anything. `?` and `[…]` are ANY as well: folded, one character may be several."""
    out, rest = "", name
    while rest:
        if rest[0] == "\\":
            out, rest = out + rest[1], rest[2:]
        elif rest[0] in "*?":
            out, rest = out + ANY, rest[1:]
        elif rest[0] == "[":
            # Where a class ends is told differently by different tools: the last bracket is right for none too few.
            out, rest = out + ANY, rest[rest.rfind("]") + 1 :] if "]" in rest else ""
        else:
            out, rest = out + rest[0], rest[1:]
    return re.sub(f"{ANY}+", ANY, out)


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two lists of names, each with anything below it, have a path in common: which pairs of places can be reached."""
    deep = ANY + ANY
    reached, todo = {(0, 0)}, [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(one) or j == len(other):
            # What is left of the longer one lies below the shorter one, if it can be below at all: it can.
            return True
        steps: list[tuple[int, int]] = []
        if one[i] == deep:
            steps += [(i + 1, j), (i, j + 1)]
        if other[j] == deep:
            steps += [(i, j + 1), (i + 1, j)]
        if one[i] != deep and other[j] != deep and _names_meet(one[i], other[j]):
            steps.append((i + 1, j + 1))
        for step in steps:
            if step not in reached:
                reached.add(step)
                todo.append(step)
    return False


@functools.lru_cache(maxsize=4096)
def _names_meet(one: str, other: str) -> bool:
    """Whether two names with ANY in them have a text in common."""
    if ANY not in one and ANY not in other:
        return one == other
    row = _skip(other, {0})  # places in `other` that can be reached when `one` is read up to here
    for character in one:
        if character == ANY:
            row = set(range(min(row), len(other) + 1))
            continue
        stepped = {j + 1 for j in row if j < len(other) and other[j] == character}
        stepped |= {j for j in row if j < len(other) and other[j] == ANY}
        row = _skip(other, stepped)
        if not row:
            return False
    return len(other) in row


def _skip(other: str, row: set[int]) -> set[int]:
    """The same places, and those behind an ANY that stands for nothing."""
    found = set(row)
    for j in sorted(row):
        while j < len(other) and other[j] == ANY:
            j += 1
            found.add(j)
    return found
