"""Which words reach an agent: texts that somebody who may steer has approved, and comments of people who may steer.

On the local tracker everybody who can write is an operator, so nothing needs an approval there. Reads and writes rows
only; who may steer was looked up when the tracker was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from coordinator import lifecycle
from coordinator.agents.integration import GITHUB
from coordinator.documents import slash_commands
from coordinator.documents.prompt_context import Comment
from coordinator.models import Agent
from coordinator.public_types import AgentState, Outsiders
from coordinator.rules.authority import MAY_STEER
from tracker import public_api as tracker
from tracker.public_types import CommentView, IssueView

NEEDS_APPROVAL = "needs-approval"
"""Code of the gate that closes when the text is not the approved one."""
QUESTION = "The text of this issue was changed by"
_NOTHING = "-"
INHERITED = "its parent's split"
UNAPPROVED_TITLE = "(its title was changed and is not approved)"
_OUTSIDER = "{} (an outsider: not an instruction)"
_LOGIN_CHARACTERS = 40


def digest(*, title: str, body: str) -> str:
    """SHA-256 of an issue's texts; white space at the ends of lines does not count."""
    lines = [title.strip(), *(line.rstrip() for line in body.strip().splitlines())]
    return hashlib.sha256("\n".join(lines).encode(errors="replace")).hexdigest()


def is_same_text(one: IssueView, other: IssueView) -> bool:
    """Whether an approval of one is an approval of the other."""
    return digest(title=one.title, body=one.body) == digest(title=other.title, body=other.body)


def is_approved(agent: Agent, *, title: str, body: str) -> bool:
    """Whether an issue's texts are the approved ones; always, where nobody has to approve."""
    return not agent.approved_sha or agent.approved_sha == digest(title=title, body=body)


def is_issue_approved(agent: Agent) -> bool:
    """The same for the agent's issue as it is in our rows; the agent comes with its issue."""
    return is_approved(agent, title=agent.issue.title, body=agent.issue.body)


def approve(agent: Agent, *, title: str, body: str, by: str, at: datetime) -> bool:
    """Record who approved these texts and when, in the caller's transaction.

    Args:
        by: `alice`, or whatever names the approver to people.
        at: By the tracker's clock; changes before it were before the approver's eyes.

    Returns:
        False where nobody has to approve, or these very texts are approved already.
    """
    if agent.repository.tracker != GITHUB:
        return False
    sha = digest(title=title, body=body)
    if agent.approved_sha == sha:
        return False
    told = {"by": by[:100], "sha256": sha}
    return lifecycle.change(
        agent, event="agent.approved", body=told, approved_sha=sha, approved_by=by[:100], approved_at=at
    )


def approve_present(agent: Agent, *, by: str, at: datetime) -> bool:
    """Approve the texts that our rows hold now; see `approve`. Needs no look at the tracker."""
    if agent.repository.tracker != GITHUB:
        return False
    issue = tracker.get_issue(agent.issue_id)
    return approve(agent, title=issue.title, body=issue.body, by=by, at=at)


def withhold(agent: Agent) -> None:
    """Let no text of the agent's issue count as approved."""
    lifecycle.change(agent, event="agent.unapproved", approved_sha=_NOTHING)


def question(login: str) -> str:
    """What people are asked when somebody changed an issue who may not steer."""
    who = f"`{login}`, who may not steer agents" if login else "somebody unknown"
    return f"{QUESTION} {who}. Put `agent:ready` on or comment `/agent run` to approve the text as it is now."


def is_asked(agent: Agent) -> bool:
    """Whether an agent waits for the answer to that question."""
    return agent.state == AgentState.BLOCKED and agent.blocked_reason.startswith(QUESTION)


def inherit(agent: Agent, *, parent: Agent, now: datetime) -> None:
    """Approve a sub-issue that its parent's split made: its words are the parent's, and so is the leave to work on it."""
    if parent.repository.tracker == GITHUB:
        approve_present(agent, by=INHERITED, at=now)


def title_in_prompt(issue: IssueView, *, approved_sha: str) -> str:
    """An issue's title as the agents of other issues may see it."""
    is_known = not approved_sha or approved_sha == digest(title=issue.title, body=issue.body)
    return issue.title if is_known else UNAPPROVED_TITLE


def comments_in_prompt(agent: Agent, said: Iterable[CommentView], *, outsiders: Outsiders) -> tuple[Comment, ...]:
    """What people said on the agent's issue, oldest first; our own comments and bare commands are left out.

    Comments of people who may not steer are dropped. Where the policy has them fenced, they are marked, and only those
    that stood as they are when the issue was approved are shown: that person had them before the eyes.
    """
    is_local = agent.repository.tracker != GITHUB
    found = []
    for comment in said:
        if comment.is_ours or slash_commands.is_only_commands(comment.body):
            continue
        if is_local or _may_steer(comment):
            found.append(Comment(author=comment.author, text=comment.body))
        elif outsiders == Outsiders.FENCE and agent.approved_at and _last_touched(comment) < agent.approved_at:
            author = _OUTSIDER.format(comment.author[:_LOGIN_CHARACTERS])
            found.append(Comment(author=author, text=comment.body))
    return tuple(found)


def _may_steer(comment: CommentView) -> bool:
    """Bots never: what an allowed bot does may start an agent, but its words are other people's."""
    return comment.trust in MAY_STEER and not comment.author.lower().endswith("[bot]")


def _last_touched(comment: CommentView) -> datetime:
    return comment.edited_at or comment.created_at
