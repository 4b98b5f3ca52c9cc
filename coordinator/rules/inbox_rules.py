"""What a prompt tells of the messages that wait: the newest whole, the latest of typed states, the rest as a count. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coordinator.documents.untrusted import one_line
from coordinator.public_types import MessageKind
from coordinator.rules import vocabulary

MOST = 20
"""Messages of one prompt that are told whole."""
CHARACTERS = 32_000
"""Of all of them together; the newest is told whatever its length."""
_NAMED = 8
_POSING = re.compile(r"^(?=[^\S\n]*message from\b)", re.IGNORECASE | re.MULTILINE)
"""Lines that look like the head under which programs and tool answers tell of another message."""
_CLOSING = re.compile(r"""[()\[\]{}<>:;"'`*_|\\]+""")
"""What a subject could end its place in our sentence with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A message as its receiver sees it."""

    id: int
    sender: str
    """`agent:12`, `cli:root`."""
    named: str
    """The same in words for the receiver: `your parent`."""
    kind: MessageKind
    text: str
    data: Mapping[str, Any]
    thread: int | None
    subject: str
    """Of the thread."""
    at: datetime

    @property
    def source(self) -> str:
        """Who says it and where: `agent 13, your sibling, in thread 7 (Which format?)`."""
        if self.thread is None:
            return self.named
        subject = one_line(_CLOSING.sub(" ", self.subject), 60)
        return one_line(f"{self.named}, in thread {self.thread} ({subject})", 150)

    @property
    def words(self) -> str:
        """What is said, facts first; no line of it passes for the head of another message."""
        return _POSING.sub("> ", as_text(self.kind, self.data, self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """What is told of some messages."""

    whole: tuple[Item, ...]
    """Oldest first."""
    folded: tuple[Item, ...]
    """States that a later one of the same sender has replaced; they are told by it."""
    older: tuple[Item, ...]
    """For which there was no room: they go on waiting."""


def as_text(kind: MessageKind, data: Mapping[str, Any], text: str) -> str:
    """A message in words: `[status] writing tests, 3 of 7`, then what was said besides."""
    if kind == MessageKind.CHAT:
        return text
    facts = vocabulary.in_words(kind, data)
    head = f"[{kind}] {facts}".rstrip()
    return f"{head}\n{text}" if text.strip() else head


def arrange(items: Iterable[Item], *, most: int = MOST, characters: int = CHARACTERS) -> Arranged:
    """Choose what a prompt tells.

    Args:
        items: All that wait, oldest first.
        most: So many are told whole.
        characters: So much text at most; the newest message is told in any case.
    """
    kept, folded = _fold(items)
    whole: list[Item] = []
    room = characters
    for item in reversed(kept):
        room -= len(item.words)
        if len(whole) == most or (whole and room < 0):
            break
        whole.append(item)
    older = kept[: len(kept) - len(whole)]
    return Arranged(whole=tuple(reversed(whole)), folded=tuple(folded), older=tuple(older))


def summary(older: Sequence[Item]) -> str:
    """`5 older messages wait: 3 from agent 12, 2 from ann (an operator). …`; empty without any."""
    if not older:
        return ""
    counts = Counter(item.named for item in older)
    named = [f"{count} from {one_line(name, 80)}" for name, count in counts.most_common(_NAMED)]
    rest = len(counts) - _NAMED
    others = f", and of {rest} others" if rest > 0 else ""
    noun = "message waits" if len(older) == 1 else "messages wait"
    return (
        f"{len(older)} older {noun}: {', '.join(named)}{others}. "
        "The tool read_inbox shows them; what is not read is told later."
    )


def _fold(items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    everything = list(items)
    last = {(item.sender, item.thread): item.id for item in everything if item.kind in vocabulary.FOLDED}
    kept, folded = list[Item](), list[Item]()
    for item in everything:
        is_replaced = item.kind in vocabulary.FOLDED and last[item.sender, item.thread] != item.id
        (folded if is_replaced else kept).append(item)
    return kept, folded
