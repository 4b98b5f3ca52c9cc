"""Words in Markdown that its readers do not see: attributes of HTML tags, alternative texts, titles, link definitions. Pure.

What a person approves is the rendered page, so words that the page does not show must not reach a model. Where it is not
certain how GitHub renders something, it counts as hidden. Fenced code is shown as it stands and left alone, but only where
nothing before it leaves a doubt that it is code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

LEFT_OUT = "…"
"""Stands where something was: an agent is to know that there was more."""
UNCLOSED = "[… an unclosed HTML tag left out]"
_ROUNDS = 6
_TAG = re.compile(r"<(/?[A-Za-z][A-Za-z0-9-]*)(?=[\s/])")
_IN_TAG = re.compile(r"""=\s*(["'])|[<>]""")
_PLAIN_ATTRIBUTES = re.compile(r"(?:\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*[^\s\"'=<>`]+)?)*\s*/?")
_HTML_LINE = re.compile(r"[\s>*+\-0-9.)]*</?[A-Za-z]")
_BRACKET = re.compile(r"\\.|!?\[|\]|\n[ \t]*\n", re.DOTALL)
_TITLE_END = re.compile(r"""(?<=\S)(\s+)("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\((?:\\.|[^()\\])*\))(\s*\))""", re.DOTALL)
_DEFINITION = re.compile(
    r"""^[ \t>*+\-0-9.)]*\[(?!\^)(?:\\.|[^\[\]\\])+\]:[ \t]*(?:\n[ \t]*)?(?:<[^<>\n]*>|[^\s<]\S*)[ \t]*"""
    r"""(?:\n?[ \t]*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\((?:\\.|[^()\\])*\)))?[ \t]*$""",
    re.MULTILINE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});?")
_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})(.*)")
_RAW_BLOCK = re.compile(r"<(?:pre|script|style|textarea)\b|<[?!]", re.IGNORECASE)
_SOME_TAG = re.compile(r"</?[A-Za-z]")


def shown(text: str, *, printable: Callable[[str], str], may_hold_code: bool) -> str:
    """The text without what a rendered page does not show. Idempotent.

    Args:
        text: Without HTML comments and hidden characters.
        printable: Drops hidden characters, to find entities that stand for them.
        may_hold_code: False: not even fenced code is left alone.
    """
    for _ in range(_ROUNDS):
        parts = _split(text) if may_hold_code else [(False, text)]
        once = "\n".join(part if is_code else _without(part, printable) for is_code, part in parts)
        if once == text:
            return text
        text = once
    return re.sub(r"[<>\[\]&]", "", text)  # somebody tries hard


def _without(text: str, printable: Callable[[str], str]) -> str:
    text = _entities(_tags(text), printable)
    defined = _DEFINITION.sub("", text) if "]:" in text else text
    return _titles(_images(defined, all_of_them=defined != text))


# --- HTML ---------------------------------------------------------------------------------------------------------


def _tags(text: str) -> str:
    """Tags without their attributes."""
    if _TAG.search(text) is None:
        return text
    parts: list[str] = []
    position = 0
    raw = _raw_html(text)
    region = next(raw, None)
    while (tag := _TAG.search(text, position)) is not None:
        start = tag.start()
        while region is not None and region[1] <= start:
            region = next(raw, None)
        is_raw = region is not None and region[0] <= start
        end, is_quoted = _end_of_tag(text, tag.end(), is_lenient=is_raw)
        if end is None:
            if is_quoted or is_raw:
                return "".join([*parts, text[position:start], UNCLOSED])
            parts.append(text[position : tag.end()])
            position = tag.end()
            continue
        inside = text[tag.end() : end]
        is_tag = is_quoted or is_raw or _PLAIN_ATTRIBUTES.fullmatch(inside)
        has_words = bool(inside.strip(" \t\n/"))
        parts.append(text[position:start])
        parts.append(f"<{tag[1]} {LEFT_OUT}>" if is_tag and has_words else text[start : end + 1])
        position = end + 1
    return "".join([*parts, text[position:]])


def _raw_html(text: str) -> Iterator[tuple[int, int]]:
    """Where lines are raw HTML: from one that begins with a tag to the next blank one.

    A browser reads them more leniently than Markdown reads a tag in running text.
    """
    position, start = 0, -1
    for line in text.split("\n"):
        if start >= 0 and not line.strip():
            yield start, position
            start = -1
        elif start < 0 and _HTML_LINE.match(line):
            start = position
        position += len(line) + 1
    if start >= 0:
        yield start, position


def _end_of_tag(text: str, position: int, *, is_lenient: bool) -> tuple[int | None, bool]:
    """Where the `>` is, None when there is none; and whether an attribute had quotes."""
    is_quoted = False
    while (found := _IN_TAG.search(text, position)) is not None:
        if found[1]:
            is_quoted = True
            close = text.find(found[1], found.end())
            if close < 0:
                return None, True
            position = close + 1
        elif found[0] == ">":
            return found.start(), is_quoted
        elif is_lenient or is_quoted:
            position = found.end()
        else:
            return None, False
    return None, is_quoted


def _entities(text: str, printable: Callable[[str], str]) -> str:
    """Entities that stand for nothing anybody sees become a space."""

    def seen(match: re.Match[str]) -> str:
        decoded = html.unescape(match[0])
        return match[0] if decoded == match[0] or printable(decoded) == decoded else " "

    return _ENTITY.sub(seen, text)


# --- Markdown -----------------------------------------------------------------------------------------------------


def _images(text: str, *, all_of_them: bool) -> str:
    """Images without their alternative texts."""
    if "![" not in text:
        return text  # most have none, and pages of blank lines take the loop below long
    spans: list[tuple[int, int]] = []
    opened: list[tuple[int, bool]] = []
    for found in _BRACKET.finditer(text):
        if found[0].startswith("\n"):
            opened.clear()  # nothing inline goes on after a blank line
        elif found[0].endswith("["):
            opened.append((found.end(), found[0] == "!["))
        elif found[0] == "]" and opened:
            start, is_image = opened.pop()
            # `![x]` alone is an image only where `x` is defined; `#![x]` is Rust.
            if is_image and (all_of_them or text[found.end() : found.end() + 1] in ("(", "[")):
                while spans and spans[-1][0] > start:
                    spans.pop()
                spans.append((start, found.start()))
    parts, position = [], 0
    for start, end in spans:
        parts.append(text[position:start])
        position = end
    return "".join([*parts, text[position:]])


def _titles(text: str) -> str:
    """Links and images without their titles."""

    def cut(match: re.Match[str]) -> str:
        before = text[max(0, match.start() - 4_000) : match.start()]
        word = before[max(before.rfind(" "), before.rfind("\n"), before.rfind("\t")) + 1 :]
        return f" {LEFT_OUT})" if "](" in word or word.endswith(">") else match[0]

    return _TITLE_END.sub(cut, text)


# --- code ---------------------------------------------------------------------------------------------------------


def _split(text: str) -> list[tuple[bool, str]]:
    """Parts that are fenced code for certain, fences included, and parts that are not; joined by line ends."""
    if ("```" not in text and "~~~" not in text) or _RAW_BLOCK.search(text):
        return [(False, text)]
    parts: list[tuple[bool, list[str]]] = [(False, [])]
    fence, is_html = "", False
    for line in text.split("\n"):
        match = _FENCE.fullmatch(line)
        if fence:
            parts[-1][1].append(line)
            if match and match[2].startswith(fence) and not match[3].strip():
                fence = ""
                parts.append((False, []))
            continue
        if match and not (match[2][0] == "`" and "`" in match[3]):
            if match[1] or is_html:
                return [(False, text)]  # it may belong to a list, or to raw HTML
            fence = match[2]
            parts.append((True, [line]))
            continue
        if _is_doubtful(line):
            return [(False, text)]
        is_html = bool(line.strip()) and (is_html or bool(_HTML_LINE.match(line)))
        parts[-1][1].append(line)
    return [(is_code, "\n".join(lines)) for is_code, lines in parts if lines]


def _is_doubtful(line: str) -> bool:
    """Whether a tag may go on after this line, and swallow the code below."""
    tags = list(_SOME_TAG.finditer(line))
    if not tags:
        return False
    return line.count('"') % 2 == 1 or line.count("'") % 2 == 1 or ">" not in line[tags[-1].end() :]
