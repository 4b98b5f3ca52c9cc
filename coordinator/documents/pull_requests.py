"""Texts that people read on the tracker: pull requests, status comments, notices. Pure.

Agents' words stand in fenced blocks and titles in code spans: there nobody is mentioned, nothing is closed by a keyword and
no link works. No text is longer than 60,000 characters, so that the markers of the tracker have room.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coordinator.documents.untrusted import fenced, head, one_line, printable, tail, terminal

MAX_CHARACTERS = 60_000
MAX_PARTS = 100
MAX_RUNS = 10
MAX_CHECKS = 20
_MAX_COMMITS = 50
_MAX_REMARKS = 20
_SUMMARY = 4_000
_REASON = 2_000
_TAIL = 1_500
_MAX_TAILS = 5
_CLOSING = re.compile(
    r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?)\b[\s:]*"
    r"(?:(?:#|GH-)(?P<number>\d+)|(?P<other>[\w.-]{1,100}/[\w.-]{1,100}#\d+|https?://\S{1,400}?/issues/\d+))",
    re.IGNORECASE,
)
"""Rather too much than too little: GitHub does not say how it reads blanks and colons. Bounded: messages may be long."""
_LIVELY = re.compile(r"@(?=\w)|#(?=\d)|\bGH-(?=\d)|:(?=//)", re.IGNORECASE)
"""Before what GitHub makes a mention, a reference or a link of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One acceptance command and how it went."""

    command: str
    passed: bool
    seconds: float
    tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit of the branch."""

    id: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A sub-issue."""

    key: str
    title: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution."""

    id: str
    mode: str
    state: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A remark on the pull request that the last run took up."""

    author: str
    place: str = ""
    """`path:line`, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a pull request says."""

    key: str
    """Of the issue that it closes."""
    summary: str
    head: str
    evidence: Sequence[Evidence]
    commits: Sequence[Commit]
    url: str = ""
    """Of the agent's page on the grid; empty where people cannot reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a status comment says."""

    state: str
    attempt: int
    attempts: int
    """How many there may be."""
    reason: str = ""
    summary: str = ""
    branch: str = ""
    head: str = ""
    change: str = ""
    """Number of the pull request."""
    is_draft: bool = False
    parts: Sequence[Part] = ()
    said: Sequence[Said] = ()
    evidence: Sequence[Evidence] = ()
    runs: Sequence[Run] = ()
    """Newest first."""
    executions: int = 0
    wall_seconds: int = 0
    cost: str = ""
    """Of models so far, in words; empty: nothing is known of any."""
    needs: str = ""
    """What only a person can do now, in Markdown of our own; empty: nothing."""
    policy_error: str = ""
    """What is wrong with the repository's policy file, with lines; it may quote the file."""
    url: str = ""


def title(text: str) -> str:
    """The title of a pull request from that of its issue; as the message of a squashed commit it closes nothing."""
    return one_line(_still(one_line(text))) or "Work of an agent"


def closed_by(message: str) -> set[str]:
    """Issues that a commit's message closes when it reaches the default branch, as GitHub reads it: `9`, `acme/app#9`.

    https://docs.github.com/en/issues/tracking-your-work-with-issues/using-issues/linking-a-pull-request-to-an-issue
    """
    return {found["number"] or found["other"] for found in _CLOSING.finditer(message)}


def in_commit(text: str) -> str:
    """One line of somebody's text for the message of a commit of ours, where there is no code to keep it still.

    It mentions nobody, and closes nothing when it reaches the default branch: `Fixes # 9`.
    """
    return _LIVELY.sub(r"\g<0> ", one_line(text))


def _still(text: str) -> str:
    """The same with every reference that a keyword would close broken, and still to be read: `Fixes # 9`."""
    return _CLOSING.sub(lambda found: _LIVELY.sub(r"\g<0> ", found[0]), text)


def body(proposal: Proposal) -> str:
    """The text of a pull request; its first line closes the issue when a person merges it, and nothing else does.

    Not even where it becomes the message of a squashed commit, in which no fence keeps words still.
    """
    lines: list[str] = []
    if proposal.summary.strip():
        lines += ["What the agent says:", "", quoted(proposal.summary, _SUMMARY), ""]
    lines += ["### Acceptance", ""]
    if proposal.evidence:
        lines += [f"Run by agent-grid on a fresh checkout of `{proposal.head[:12]}`:", ""]
        lines += _evidence_table(proposal.evidence)
    else:
        lines += ["No acceptance command was run, so this stays a draft until a person marks it ready."]
    lines += ["", "### Commits", "", _commit_list(proposal.commits), "", "---", ""]
    lines += [
        "Made by an agent: read it as you would a stranger's work. Remarks by people who may write here, and failed"
    ]
    lines += [f"checks, start another run; merging or closing ends it.{_link(proposal.url)}"]
    return _bounded([f"Closes #{proposal.key}", "", _still("\n".join(lines))])


def status(facts: Status) -> str:
    """The status comment: where the agent stands, edited in place."""
    lines = [f"**Agent: {facts.state}** - attempt {facts.attempt} of {facts.attempts}{_link(facts.url)}", ""]
    if facts.needs:
        lines += [f"**Needs you:** {facts.needs}", ""]
    if facts.reason:
        lines += [quoted(facts.reason, _REASON), ""]
    if facts.policy_error:
        lines += ["The repository's policy file has mistakes and is not used as it is:", ""]
        lines += [quoted(facts.policy_error, _REASON), ""]
    if facts.change:
        lines += [f"Pull request #{facts.change}{' (draft)' if facts.is_draft else ''}, {_place(facts)}.", ""]
    elif facts.head:
        lines += [f"Work: {_place(facts)}.", ""]
    lines += _part_table(facts.parts)
    if facts.said:
        lines += ["Taken up by the last run:", "", *_said_list(facts.said), ""]
    if facts.summary.strip():
        lines += ["The agent says:", "", quoted(facts.summary, _SUMMARY), ""]
    if facts.evidence:
        lines += [*_evidence_table(facts.evidence), "", *_tails(facts.evidence)]
    lines += _run_table(facts.runs)
    runs = "1 run" if facts.executions == 1 else f"{facts.executions} runs"
    cost = f", {facts.cost}" if facts.cost else ""
    lines += [f"Used so far: {runs}, {facts.wall_seconds:,} seconds of running time{cost}."]
    return _bounded(lines)


def plan(parts: Sequence[Part], *, summary: str) -> str:
    """A notice: the issue was split."""
    lines = [f"The agent has split this issue into {len(parts)} sub-issues; they are worked on now.", ""]
    lines += _part_table(parts)
    if summary.strip():
        lines += ["Why, in its words:", "", quoted(summary, _SUMMARY)]
    return _bounded(lines)


def proposed(change: str, *, is_ready: bool, said: Sequence[Said] = ()) -> str:
    """A notice: there is something to review."""
    if is_ready:
        lines = [f"Pull request #{change} is ready for review: the acceptance commands pass."]
    else:
        lines = [
            f"Pull request #{change} is a draft: no acceptance command vouches for it. Look at it, and mark it ready."
        ]
    if said:
        lines += ["", "It takes up what was said by:", "", *_said_list(said)]
    return _bounded(lines)


def needs_you(state: str, reason: str, *, first: str = "") -> str:
    """A notice: the agent waits for a person.

    Args:
        first: What has to be done before a retry helps, in Markdown of our own.
    """
    what = "has failed too often" if state == "failed" else "waits for a person"
    lines = [f"The agent {what}:", "", quoted(reason or "it gave no reason", _REASON), ""]
    lines += [first, ""] if first else []
    lines += ["Answer in a comment, then write `/agent retry` on a line of its own."]
    return _bounded(lines)


def no_run(needs: str) -> str:
    """A notice: what was asked for does not start before somebody does something; `needs` is Markdown of our own."""
    return _bounded([f"The agent waits for a person. {needs}"])


def quoted(text: str, limit: int) -> str:
    """Words that are not ours, as a quotation in which nothing works."""
    return "\n".join(f"> {line}".rstrip() for line in fenced(head(printable(text), limit)).split("\n"))


def code(text: str, limit: int) -> str:
    """One line of somebody's text as a code span that also fits into a table."""
    # A backslash before the bar would take the table's escape away.
    plain = one_line(text, limit).replace("`", "'").replace("\\", "/").replace("|", "\\|")
    return f"`{plain or ' '}`"


def _place(facts: Status) -> str:
    return f"branch {code(facts.branch, 200)}" + (f", commit `{facts.head[:12]}`" if facts.head else "")


def _link(url: str) -> str:
    return f" - [open in agent-grid]({url})" if url else ""


def _evidence_table(evidence: Sequence[Evidence]) -> list[str]:
    rows = [
        f"| {code(item.command, 200)} | {'passed' if item.passed else '**failed**'} | {item.seconds:.1f} |"
        for item in evidence[:MAX_CHECKS]
    ]
    return ["| acceptance | result | seconds |", "|---|---|---|", *rows, *_more(evidence, MAX_CHECKS)]


def _tails(evidence: Iterable[Evidence]) -> list[str]:
    """What the commands that failed printed last."""
    lines: list[str] = []
    for item in [item for item in evidence if not item.passed and item.tail.strip()][:_MAX_TAILS]:
        lines += [f"The end of what {code(item.command, 100)} printed:", ""]
        lines += [quoted(tail(terminal(item.tail), _TAIL), _TAIL), ""]
    return lines


def _commit_list(commits: Sequence[Commit]) -> str:
    lines = [f"{commit.id[:12]} {one_line(commit.subject, 120)}" for commit in commits[:_MAX_COMMITS]]
    return fenced("\n".join([*lines, *(_more(commits, _MAX_COMMITS)[1:])]) or "none")


def _part_table(parts: Sequence[Part]) -> list[str]:
    if not parts:
        return []
    rows = [f"| #{one_line(part.key, 20)} {code(part.title, 120)} | {part.state} |" for part in parts[:MAX_PARTS]]
    return ["| sub-issue | state |", "|---|---|", *rows, *_more(parts, MAX_PARTS), ""]


def _run_table(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return []
    rows = [f"| `{run.id[:8]}` | {run.mode} | {run.state} | {run.seconds:,} |" for run in runs[:MAX_RUNS]]
    return ["| run | mode | state | seconds |", "|---|---|---|---|", *rows, ""]


def _said_list(said: Sequence[Said]) -> list[str]:
    lines = [f"- {code(item.author, 80)}" + (f" on {code(item.place, 200)}" if item.place else "") for item in said]
    return [*lines[:_MAX_REMARKS], *_more(said, _MAX_REMARKS)]


def _more(items: Sequence[object], limit: int) -> list[str]:
    return ["", f"… and {len(items) - limit} more"] if len(items) > limit else []


def _bounded(lines: Iterable[str]) -> str:
    return head("\n".join(lines).rstrip(), MAX_CHARACTERS - 1) + "\n"
