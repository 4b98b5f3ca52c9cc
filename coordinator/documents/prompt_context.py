"""What a prompt may tell: plain values, as people and programs wrote them. `coordinator.documents.prompts` makes them safe. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """Something said on the issue."""

    author: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The issue this one is a part of."""

    key: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """An issue that had to be closed first, and is."""

    key: str
    title: str
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A sub-issue of this one, as it stands now."""

    key: str
    title: str
    state: str
    summary: str = ""
    branch: str = ""
    commit: str = ""
    """Empty when it left no work."""
    attempts: int = 0
    """Runs that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCheck:
    """A command of ours that did not exit 0."""

    command: str
    tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the attempt before this one ended."""

    reason: str
    checks: tuple[FailedCheck, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Why the work could not be merged."""

    paths: tuple[str, ...]
    commit: str
    """What is to be merged into the agent's branch; it is in the agent's clone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two agents that want the same files."""

    agent: str
    """Its number, as tools take it."""
    key: str
    """Of its issue."""
    title: str
    state: str
    says: str = ""
    """How far it is, in its own words."""
    reason: str = ""
    """Why it wants the files, in its own words."""
    patch: str = ""
    """What it has changed in them so far, as far as it was handed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A conflict that the agent is to decide."""

    number: str
    what: str
    """One sentence: what the two met at."""
    paths: tuple[str, ...]
    requester: Side
    holder: Side
    choices: tuple[str, ...]
    """Each: how it is called, and what happens then."""
    default: str
    """What happens when nobody decides, and when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something said about the pull request: by a person, or by a check that failed."""

    author: str
    """A person's login, or the name of the check."""
    text: str
    """What the person wrote, or the end of the check's log."""
    is_check: bool = False
    path: str = ""
    """File it is about, or empty."""
    line: int | None = None
    commit: str = ""
    """What was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message to the agent itself."""

    sender: str
    """In words for the agent: `your parent`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the tree may still use; None where there is no limit."""

    executions: int | None = None
    wall_seconds: int | None = None
    usd_micros: int | None = None
    """Money for models, in millionths of a US dollar."""
    tokens: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What is limited, with what is left of it; cents are cut off."""
        found = (
            (self.executions, f"{self.executions} runs"),
            (self.wall_seconds, f"{self.wall_seconds} seconds of running time"),
            (self.usd_micros, f"${(self.usd_micros or 0) // 10_000 / 100:,.2f} for models"),
            (self.tokens, f"{self.tokens or 0:,} tokens of models"),
        )
        return tuple(text for left, text in found if left is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptContext:
    """Everything a template may use. Texts are as people wrote them; they are made safe here."""

    key: str
    title: str
    body: str
    scope: str
    """Of the tracker: `acme/widgets`."""
    branch: str
    """The agent's own, checked out in its clone."""
    base: str
    """Commit that the branch grew from."""
    attempt: int
    max_attempts: int
    may_split: bool
    max_children: int
    """How many sub-issues it may still ask for."""
    depth: int
    """0 for a root."""
    wall_seconds: int
    """This run is stopped after so long."""
    cwd: str = ""
    """Folder of the repository where the work is; empty: its top."""
    comments: tuple[Comment, ...] = ()
    """Oldest first, of people who may steer an agent; choosing them is the caller's."""
    acceptance: tuple[str, ...] = ()
    parent: Parent | None = None
    blockers: tuple[Blocker, ...] = ()
    children: tuple[Child, ...] = ()
    last_failure: Failure | None = None
    conflict: Conflict | None = None
    """A merge to do. The mode `resolve` needs this, or disputes."""
    disputes: tuple[Dispute, ...] = ()
    """Conflicts between others that it is to decide, the oldest first."""
    remarks: tuple[Remark, ...] = ()
    """On its pull request, oldest first, of people who may steer an agent."""
    messages: tuple[Told, ...] = ()
    """To the agent, oldest first, of its parent, its children and people who may steer it."""
    budget: Budget = Budget()
