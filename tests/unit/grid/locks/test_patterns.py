"""Paths and patterns: one plain form; overlap misses nothing, covering claims nothing too much."""

from __future__ import annotations

import fnmatch
import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid.locks.patterns import MAX_CHARACTERS, Pattern, covers, escaped, literal, overlap, parse, same
from grid.public_errors import LockPatternError

NAMES = ("a", "A", "b", "ab", "ba", "é", "e\u0301", "ß", "ss", "[a]", "*")
PIECES = (
    "a",
    "A",
    "b",
    "ab",
    "é",
    "ß",
    "*",
    "?",
    "a*",
    "*b",
    "*a*",
    "[ab]",
    "[!a]",
    "[!]a]",
    "??",
    "**",
    "\\*",
    "\\[a\\]",
    "s?",
    "e?",
)
PATHS = [path for count in (1, 2, 3) for path in itertools.product(NAMES, repeat=count)]
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("/".join)
anything = st.text(max_size=60)


def matched(pattern: str, path: tuple[str, ...]) -> bool:
    """A plain reading of a pattern: some file system's name for a folder on the way, or for the path, is what it says."""
    return any(reads(pattern.split("/"), list(path[:count])) for count in range(1, len(path) + 1))


def reads(pieces: list[str], names: list[str]) -> bool:
    if not pieces:
        return not names
    if pieces[0] == "**":
        return any(reads(pieces[1:], names[count:]) for count in range(len(names) + 1))
    return bool(names) and reads_name(pieces[0], names[0]) and reads(pieces[1:], names[1:])


def reads_name(piece: str, name: str) -> bool:
    return any(fnmatch.fnmatchcase(variant, translated(piece)) for variant in NAMES if fold(variant) == fold(name))


def translated(piece: str) -> str:
    """Backslashes as fnmatch has them; what is no pattern means every spelling of itself."""
    return piece.replace("\\*", "[*]").replace("\\[a\\]", "[[]a[]]")


def fold(name: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def test_spellings_of_one_file_have_one_key() -> None:
    for text in ("./src/app.py", "src//app.py", "src/./app.py", "src/x/../app.py", "src/app.py/", "SRC/App.py"):
        assert parse(text).key == parse("src/app.py").key
    assert parse("caf\u00e9.md").key == parse("cafe\u0301.md").key == parse("CAFE\u0301.MD").key
    assert parse("./Docs/").text == "Docs"
    assert parse(".").key == parse("./").key == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("/etc/passwd", "absolute"),
        ("../x", "leaves the repository"),
        ("a/../../x", "leaves the repository"),
        ("*/../x", "goes up from a pattern"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\ud800", "surrogate"),
        ("src/{a,b}.py", "braces"),
        (".git/config", "below .git"),
        ("x/.GIT/hooks", "below .git"),
        ("a\\", "backslash"),
        ("x" * (MAX_CHARACTERS + 1), "at most 400"),
        ("/".join("a" * 100), "names"),
        ("\u0390" * 400, "bytes"),
    ],
)
def test_what_is_no_path_is_refused_with_the_fix(text: str, words: str) -> None:
    with pytest.raises(LockPatternError, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("src", "src/app.py", True),
        ("src/app.py", "src/app.py/below", True),
        ("src", "srcs", False),
        ("src/a.py", "src/b.py", False),
        ("src/*.py", "src/app.py", True),
        ("src/*.py", "src/app.js", False),
        ("src/*.py", "src/deep/app.py", False),
        ("src/*", "src/deep/app.py", True),
        ("**/app.py", "src/deep/app.py", True),
        ("**/*.py", "docs/*.md", True),  # docs/x.md may be a folder
        ("src/**", "src", True),
        ("a*c", "*d", False),
        ("a*c", "*bc", True),
        (".", "anything/at/all", True),
        ("**", "x", True),
        ("app/\\[id\\].tsx", "app/i.tsx", False),
        ("app/[id].tsx", "app/i.tsx", True),
    ],
)
def test_overlap(one: str, other: str, expected: bool) -> None:
    assert overlap(parse(one), parse(other)) == expected
    assert overlap(parse(other), parse(one)) == overlap(parse(one), parse(other))


@settings(max_examples=120, deadline=None)
@given(texts, texts)
def test_overlap_misses_no_file_and_is_symmetric(one: str, other: str) -> None:
    left, right = parse(one), parse(other)
    assert overlap(left, right) == overlap(right, left)
    assert overlap(left, left)
    if not overlap(left, right):
        assert not [path for path in PATHS if matched(one, path) and matched(other, path)]


@settings(max_examples=120, deadline=None)
@given(texts, texts)
def test_what_covers_another_has_every_file_of_it(one: str, other: str) -> None:
    left, right = parse(one), parse(other)
    assert covers(left, left)
    if covers(left, right):
        assert overlap(left, right)
        assert not [path for path in PATHS if matched(other, path) and not matched(one, path)]
    if same(left, right):
        assert covers(left, right)
        assert covers(right, left)


@settings(max_examples=120, deadline=None)
@given(anything)
def test_any_text_is_taken_once_for_all_or_refused(text: str) -> None:
    try:
        plain = parse(text)
    except LockPatternError:
        return
    again = parse(plain.text)
    assert again == plain
    assert not plain.text.startswith(("/", "./", "../"))


@settings(max_examples=120, deadline=None)
@given(anything)
def test_a_path_written_for_itself_is_no_pattern(text: str) -> None:
    try:
        plain = literal(text)
    except LockPatternError:
        return
    assert not plain.is_glob
    assert parse(escaped(text)) == plain


def test_hard_patterns_cost_little() -> None:
    one = parse("/".join(["**", "*a*a*a*b"] * 15))
    other = parse("/".join(["**", "a" * 12] * 15))
    assert isinstance(overlap(one, other), bool)
    assert isinstance(overlap(parse("*a" * 190), parse("a" * 390)), bool)
    assert isinstance(Pattern(text="x", key="x", is_glob=False).names, tuple)
