"""What every issue tracker offers the grid.

Reads may be called by anyone outside a transaction. Writes are called by the outbox only, one at a time per repository,
and may be repeated: after a crash or a lost answer the same call comes again and must end in the same state.
Every call returns or raises within 30 seconds, so that the outbox's lease outlives it.

Any method may also raise RateLimitedError, UnavailableError and ForbiddenError. A scope or key that does not exist,
or cannot exist, is a NotFoundError. Issues linked to each other are of one scope.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Protocol

from tracker.public_types import AgentState, CloseReason, CommentView, IssueDraft, IssueView, Page, Ref, Trust


class Tracker(Protocol):
    """An issue tracker. Texts are Markdown; limits are those of `tracker.limits`."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Of `sub_issues, dependencies, native_assign, pin_comment, pull_requests, webhooks`."""

    # --- reads ---------------------------------------------------------------------------------------------------

    def get(self, ref: Ref) -> IssueView:
        """The issue as it is now."""

    def list_changed(self, scope: str, since: datetime, cursor: str | None = None) -> Page[IssueView]:
        """Issues changed at or after `since`, open and closed, the longest unchanged first.

        `cursor` comes from the page before; None for the first page.

        Raises:
            InvalidError: The cursor is not one of ours.
        """

    def children(self, ref: Ref) -> list[Ref]:
        """Sub-issues in their order, closed ones too."""

    def parent(self, ref: Ref) -> Ref | None:
        """The issue that this one is a part of."""

    def blockers(self, ref: Ref) -> list[Ref]:
        """Issues that this one waits for, closed ones too, sorted."""

    def comments(self, ref: Ref, since: datetime | None = None) -> list[CommentView]:
        """Comments, oldest first; with `since`, those made or edited at or after it."""

    def permission(self, scope: str, actor: str) -> Trust:
        """What a person may do; NONE for anyone unknown."""

    # --- writes --------------------------------------------------------------------------------------------------

    def create(self, scope: str, draft: IssueDraft, dedupe_key: str) -> IssueView:
        """The one issue of this dedupe key, created unless it exists; looks before it creates.

        Raises:
            InvalidError: The draft breaks a limit, or the key is empty.
            UnavailableError: With `maybe_applied`, calling again finds the issue if it was created.
        """

    def edit(self, ref: Ref, *, title: str, body: str, was: str = "") -> IssueView:
        """Replace an issue's texts; the answer holds them as the tracker does.

        Args:
            ref: The issue.
            title: The new one.
            body: The new one.
            was: `limits.text_digest` of the texts that are replaced; empty: whatever they are.

        Raises:
            InvalidError: A text breaks a limit.
            ChangedError: The texts are neither those of `was` nor the new ones. Nothing was written.
        """

    def link_child(self, parent: Ref, child: Ref, after: Ref | None = None, *, replace: bool = False) -> None:
        """Make `child` the last child of `parent`, or the one next to its sibling `after`.

        A child that is already linked stays where it is when `after` is None. With `replace` it is taken from another
        parent where it has one.

        Raises:
            InvalidError: Another parent, 100 children, 8 levels, a cycle, another scope, or `after` is no sibling.
        """

    def set_blockers(self, ref: Ref, blockers: Collection[Ref]) -> None:
        """Make exactly these issues the ones that `ref` waits for.

        Raises:
            InvalidError: More than 50, a cycle, itself, or another scope. Nothing is changed then.
        """

    def set_state(self, ref: Ref, state: AgentState) -> None:
        """Show exactly this `agent:*` state label. A closed issue shows none; nothing happens then."""

    def upsert_comment(self, ref: Ref, slot: str, data: Mapping[str, Any], markdown: str) -> CommentView:
        """The one comment of ours in this slot, created or edited in place.

        When both the stored and the given `data` hold an integer `seq`, a lower one is a late write: nothing happens.

        Raises:
            InvalidError: Bad slot, too long, or data that is no small JSON object.
        """

    def react(self, ref: Ref, kind: str, comment_id: str = "") -> None:
        """Add our reaction (`eyes`, `+1`, …) to the issue, or to one of its comments.

        Raises:
            InvalidError: No such kind.
            NotFoundError: The comment is not one of this issue.
        """

    def assign(self, ref: Ref, actor: str) -> bool:
        """Assign a person as well; False when the tracker drops that silently (unknown, or 10 assignees)."""

    def close(self, ref: Ref, reason: CloseReason) -> None:
        """Close the issue and take its state label away; an issue already closed keeps its reason."""

    def reopen(self, ref: Ref) -> None:
        """Open the issue again; does nothing when it is open."""

    def set_label(self, ref: Ref, name: str, *, present: bool) -> None:
        """Put a label that shows no state on, or take it off; whichever is so already stays.

        Raises:
            InvalidError: No name for a label, a state label, or too many labels.
        """


class CodeHost(Protocol):
    """Where changes are proposed to people. Trackers without pull requests have none."""

    def open_change(self, ref: Ref, *, head: str, base: str, title: str, body: str, outlived: str = "") -> Ref:
        """The one open pull request of our branch `head`, opened as a draft unless it exists; its texts are updated.

        One of ours that people have merged or closed meanwhile is the answer as well, and stays as it is: `outlived`
        tells which are history. Pull requests that others opened from our branch are left alone.

        Args:
            ref: The issue it is for.
            outlived: The last pull request of the branch that had ended before this work, `0` when none had. Empty when
                the branch was never proposed before: then another one is opened wherever there is something new.

        Raises:
            NotProposableError: `base` has all its commits, or somebody else's pull request of it is open.
            InvalidError: The branch does not exist there.
        """

    def mark_ready(self, ref: Ref, *, head: str) -> None:
        """Make the draft of our branch ready for review; does nothing when it is, or when it is not open any more."""
