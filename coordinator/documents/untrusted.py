"""Text from people and programs we do not know, made safe to put before a model. Pure.

What is done is about showing: nothing that a person cannot see reaches a prompt, nothing gets out of its fence, nothing
is endless. What the words ask for is not judged here; agents hold no rights that a prompt could give away. Ways of
hiding text that only a renderer of Markdown knows of (attributes, alternative texts, link definitions) are seen to by
`coordinator.documents.hidden`; what is folded away (`<details>`) can be unfolded, and stays.
"""

from __future__ import annotations

import re

from coordinator.documents import hidden

# Control and format characters (Cc but \n and \t, Cf, Cs) and what Unicode calls default-ignorable: zero-width, bidi
# controls, fillers, variation selectors and tags, all of which have been used to smuggle text past reviewers.
# A test compares with unicodedata.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_LINE_END = re.compile("\r\n?|[\u2028\u2029]")
_TERMINAL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?)")
_UNCLOSED = "[… an unclosed HTML comment left out]"
_LONG_RUN = re.compile(r"`{17,}")
_MAX_RUN = 16
_MARK_CHARACTERS = 50
"""Room for the longest mark, so that bounded text stays within its bound."""


def printable(text: str) -> str:
    """The characters a person can see, spaces, tabs and line ends; words stay as they are."""
    return _HIDDEN.sub("", _LINE_END.sub("\n", text))


def visible(text: str) -> str:
    """What a person sees of a rendered issue or comment: `printable`, without hidden words. Idempotent."""
    text = printable(text)
    shown = _without_comments(text)
    # A comment over the fences of code leaves in doubt which text is code.
    has_doubt = any(shown.count(fence) != text.count(fence) for fence in ("```", "~~~"))
    return hidden.shown(shown, printable=printable, may_hold_code=not has_doubt)


def _without_comments(text: str) -> str:
    position = 0
    parts: list[str] = []
    while (start := text.find("<!--", position)) >= 0:
        parts.append(text[position:start])
        end = text.find("-->", start + 2)  # `<!-->` is a whole comment
        if end < 0:
            return " ".join([*parts, _UNCLOSED])
        position = end + 3
    # A space, not nothing: what stood around a comment must not become one.
    return " ".join([*parts, text[position:]])


def terminal(text: str) -> str:
    """What a person sees of a program's output; colours and cursor movements are dropped."""
    return printable(_TERMINAL_SEQUENCE.sub("", text))


def one_line(text: str, limit: int = 256) -> str:
    """For headings and lists: visible, without line ends, at most `limit` characters."""
    # More than enough to fill the limit, so that a huge text costs little.
    return _cut(" ".join(visible(text[: 100 * limit]).split()), limit)


def head(text: str, limit: int) -> str:
    """The beginning; a mark says how much is missing. At most `limit` characters, for limits of 50 and more."""
    if len(text) <= limit:
        return text
    kept = limit - _MARK_CHARACTERS
    return f"{text[:kept]}\n[… {len(text) - kept:,} characters left out]"


def tail(text: str, limit: int) -> str:
    """The end; a mark says how much is missing. At most `limit` characters, for limits of 50 and more."""
    if len(text) <= limit:
        return text
    left_out = len(text) - (limit - _MARK_CHARACTERS)
    return f"[… {left_out:,} characters left out]\n{text[left_out:]}"


def fenced(text: str, kind: str = "text") -> str:
    """A Markdown block that the text cannot close: its fence is longer than any run of backticks inside.

    Runs of more than 16 backticks mean nothing to anybody; they are shortened and end in "…", so that no fence is long.
    """
    text = _LONG_RUN.sub("`" * _MAX_RUN + "…", text)  # never longer than before
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text.strip('\n')}\n{fence}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
