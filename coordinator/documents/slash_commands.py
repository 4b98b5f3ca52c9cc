"""`/agent …` in comments: which words of a comment are commands. Pure; who may give them is judged elsewhere.

A command stands on a line of its own, as a person sees it: not in a code block, not in a quotation, not hidden.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.documents.untrusted import one_line, visible

PREFIX = "/agent"
MAX_COMMANDS = 5
"""Of one comment; the rest is left out."""
MAX_BUDGET = 1_000_000
_MAX_CHARACTERS = 100_000
"""More than a tracker takes."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HTML_BLOCK = re.compile(r"<(pre|script|style|textarea)\b", re.IGNORECASE)
_NUMBER = re.compile(r"(\$?)([0-9]{1,7})")


class Verb(enum.StrEnum):
    """What may be asked for."""

    RUN = "run"
    HOLD = "hold"
    UNHOLD = "unhold"
    RETRY = "retry"
    CANCEL = "cancel"
    PLAN = "plan"
    BUDGET = "budget"
    EXPLAIN = "explain"


USAGE = {
    Verb.RUN: "start the agent, or approve the issue's present text and go on",
    Verb.HOLD: "keep away from the issue: nothing is started, applied or written",
    Verb.UNHOLD: "end the hold",
    Verb.RETRY: "fresh attempts after a failure, a question or a cancel",
    Verb.CANCEL: "end the agent and everything below it; work done is kept",
    Verb.PLAN: "show the tree of sub-issues and where each stands",
    Verb.BUDGET: "`/agent budget 50` lets the whole tree use 50 runs in all, `/agent budget $30` 30 dollars for models",
    Verb.EXPLAIN: "say why the agent runs, or why not",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One line that addresses the agent."""

    verb: Verb | None
    """None when it cannot be carried out; `problem` says why."""
    number: int = 0
    """Of `budget`: how many runs, or dollars."""
    is_money: bool = False
    """The number is one of US dollars."""
    problem: str = ""
    """For the person who wrote it, in Markdown."""


def parse(text: str) -> tuple[Command, ...]:
    """The commands of a comment in their order, at most `MAX_COMMANDS`; the same one twice is one."""
    found = (_command(line) for line in _lines(text) if _is_command(line))
    return tuple(dict.fromkeys(found))[:MAX_COMMANDS]


def is_only_commands(text: str) -> bool:
    """Whether a comment says nothing but commands, so that an agent need not read it."""
    lines = [line for line in visible(text[:_MAX_CHARACTERS]).split("\n") if line.strip()]
    return bool(lines) and all(_is_command(line) for line in lines)


def help_text() -> str:
    """What there is, as a Markdown list."""
    return "\n".join(f"- `{PREFIX} {verb}`: {words}" for verb, words in USAGE.items())


def _lines(text: str) -> Iterator[str]:
    """The lines that are neither code nor quotation, as CommonMark reads them."""
    fence, is_paragraph = "", False
    for line in visible(text[:_MAX_CHARACTERS]).split("\n"):
        opening = _FENCE.fullmatch(line)
        if fence:
            if opening and not opening[2].strip() and opening[1].startswith(fence):
                fence = ""
            continue
        if opening and not (opening[1][0] == "`" and "`" in opening[2]):
            fence, is_paragraph = opening[1], False
            continue
        if _HTML_BLOCK.search(line):
            return  # whatever follows may be shown as code
        if line.lstrip(" ").startswith(">"):
            is_paragraph = True  # its next line belongs to the quotation, unless a blank one comes first
            continue
        is_quoted, is_paragraph = is_paragraph, is_paragraph and bool(line.strip())
        if not is_quoted and not line.startswith(("    ", "\t")):
            yield line


def _is_command(line: str) -> bool:
    return line.strip().lower().split(None, 1)[:1] == [PREFIX]


def _command(line: str) -> Command:
    _, *words = line.strip().lower().split()
    if not words:
        return Command(verb=None, problem=f"`{PREFIX}` needs a word:\n\n{help_text()}")
    if words[0] not in list(Verb):
        return Command(verb=None, problem=f"There is no command {_shown(words[0])}. These are known:\n\n{help_text()}")
    verb, rest = Verb(words[0]), words[1:]
    if verb != Verb.BUDGET:
        if rest:
            return Command(
                verb=None,
                problem=f"`{PREFIX} {verb}` takes nothing after it, so nothing was done. Write the rest on another line.",
            )
        return Command(verb=verb)
    found = _NUMBER.fullmatch(rest[0]) if len(rest) == 1 else None
    if found is None or not 0 < int(found[2]) <= MAX_BUDGET:
        problem = (
            f"`{PREFIX} budget` needs the number of runs, `{PREFIX} budget 50`, or whole dollars, `{PREFIX} budget $30`: "
            "as many as the whole tree may use in all."
        )
        return Command(verb=None, problem=problem)
    return Command(verb=verb, number=int(found[2]), is_money=bool(found[1]))


def _shown(word: str) -> str:
    """Somebody's word in code quotes that it cannot leave."""
    return f"`{one_line(word.replace('`', ''), 30)}`"
