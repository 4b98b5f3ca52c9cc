"""A root's work on its way to people: proposed as a pull request, announced, and handed to a person when it goes in circles."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from coordinator import lifecycle
from coordinator.agents import integration, remarks, tree
from coordinator.agents.integration import GITHUB, Integrated
from coordinator.documents import pull_requests
from coordinator.documents.pull_requests import Commit, Proposal
from coordinator.launching import briefing
from coordinator.models import Agent
from coordinator.public_errors import ClosingWordsError, NotAllowedError
from coordinator.public_types import AgentState
from coordinator.rules.admission import MAX_REWORKS
from coordinator.teamwork import locking
from coordinator.trees import reports
from grid import public_api as grid
from grid.public_errors import SourceUnavailableError, WorkspaceError
from grid.public_types import ExecutionView
from tracker import public_writes as tracker_writes
from tracker.public_errors import RateLimitedError, TrackerError, UnavailableError
from tracker.public_types import Write, WriteKind, WriteResult


def check(agent: Agent, run: ExecutionView) -> None:
    """Refuse what a run left, before anything becomes of it. Asks git.

    Raises:
        ClosingWordsError: Its commits' messages would close issues outside the tree.
        StaleWriteError: It lost a lock, and somebody else had it since.
        PathsLockedError: Others work on the files that it changed; apply the end again later.
        GridError: A person has to look at it; the message says why.
    """
    locking.check(agent, run)
    if agent.repository.tracker != GITHUB or not run.result.changed:
        return
    try:
        integration.check(agent, run.result.head, allowed=_allowed(agent))
    except ClosingWordsError:
        raise
    except NotAllowedError as error:
        raise WorkspaceError(str(error)) from error


def bring_together(agent: Agent, run: ExecutionView) -> Integrated:
    """Merge what a run left into the agent's branch and its parent's; a root's branch is published. Asks git.

    Raises:
        SourceUnavailableError: The place to publish to does not answer now; call again later.
        GridError: It cannot be done without a person; the message says why.
    """
    head = run.result.head if run.result.changed else agent.head
    done = integration.integrate(agent, head, title=pull_requests.in_commit(agent.issue.title))
    if agent.parent is not None or not done.head or done.conflict:
        return done
    try:
        return integration.publish(agent, done, allowed=_allowed(agent))
    except (UnavailableError, RateLimitedError) as error:
        raise SourceUnavailableError(str(error)) from error
    except (TrackerError, NotAllowedError) as error:
        raise WorkspaceError(str(error)) from error


def _allowed(agent: Agent) -> Sequence[str]:
    return briefing.limits_of(agent).allow_protected_paths if agent.repository.tracker == GITHUB else ()


def to_propose(agent: Agent, head: str) -> list[Commit] | None:
    """The commits that a pull request would show, newest first; None where finished work is no pull request. Asks git."""
    if agent.parent_id is not None or not head or agent.repository.tracker != GITHUB:
        return None
    return [Commit(id=commit.commit, subject=commit.subject) for commit in integration.commits_of(agent, head)]


def offer(agent: Agent, run: ExecutionView, commits: Sequence[Commit]) -> None:
    """Wish for the pull request of a root that is in review now, in the transaction that moved it there."""
    issue = agent.issue
    proposal = Proposal(
        key=issue.key,
        summary=agent.summary,
        head=agent.head,
        evidence=reports.evidence(run),
        commits=commits,
        url=reports.page(agent),
    )
    texts = {"title": pull_requests.title(issue.title), "body": pull_requests.body(proposal)}
    places = {"head": agent.branch, "base": agent.repository.default_branch, "outlived": _outlived(agent)}
    writes = [
        Write(
            key=f"change:{agent.pk}:{run.id}",
            kind=WriteKind.OPEN_CHANGE,
            payload={"ref": issue.key, **places, **texts},
            coalesce=f"change:{agent.pk}",
        )
    ]
    if passed(agent, run):
        payload = {"ref": issue.key, "head": agent.branch}
        writes.append(Write(key=f"ready:{agent.pk}:{run.id}", kind=WriteKind.MARK_READY, payload=payload))
    tree.write(agent, *writes, *reports.ended(agent, run))
    stop_circling(agent)


def _outlived(agent: Agent) -> str:
    """Number of the last pull request of its branch whose end this agent has survived; empty before its first proposal.

    So a later one that people have ended is the end of this work, even when the wish is carried out before we hear of it.
    """
    survived = remarks.survived(agent)
    if not survived and tracker_writes.latest(f"change:{agent.pk}:") is None:
        return ""
    return str(max(survived, default=0))


def passed(agent: Agent, run: ExecutionView) -> bool:
    """The gate: there are acceptance commands, and all passed on the very commit that is proposed."""
    checks = run.result.checks
    return bool(checks) and all(check.passed for check in checks) and run.result.head == agent.head


def opened(result: WriteResult) -> None:
    """A pull request was opened or brought up to date, or never will be."""
    agent_id = int(result.key.split(":")[1])
    refused = str(result.value.get("refused", ""))
    if result.is_done and not refused:
        announce(agent_id)
    elif result.is_done or result.is_permanent:
        reason = f"its pull request could not be opened: {refused or result.error}"
        with transaction.atomic():
            agent = _locked(agent_id)
            if agent.state == AgentState.REVIEW:
                ask(agent, reason)


def announce(agent_id: int) -> None:
    """Tell people of a pull request that waits for them, once for each run that led there."""
    with transaction.atomic():
        agent = _locked(agent_id)
        change = reports.change_of(agent)
        if agent.state != AgentState.REVIEW or agent.execution_id is None or change is None or not change.is_open:
            return
        is_ready = passed(agent, grid.get_execution(agent.execution_id)) or not change.is_draft
        notice = reports.proposed(agent, change, is_ready=is_ready)
        if not tracker_writes.results([notice.key]):  # else everybody knows, and every edit counts against the quota
            tree.write(agent, notice, *reports.show(agent))


def stop_circling(agent: Agent) -> bool:
    """Ask a person instead of reworking a pull request once more; returns whether it was time to."""
    if agent.reworks < MAX_REWORKS or not remarks.waiting(agent):
        return False
    ask(agent, f"its pull request was reworked {agent.reworks} times and there are new remarks; `/agent retry` goes on")
    return True


def ask(agent: Agent, reason: str) -> bool:
    """Hand an agent in review to a person, in the caller's transaction."""
    if not lifecycle.move(agent, new=AgentState.BLOCKED, reason=reason, fields={"blocked_reason": reason[:1000]}):
        return False
    agent.blocked_reason = reason[:1000]
    lifecycle.close_nudge(agent)
    tree.show_state(agent)
    tree.write(agent, *reports.show(agent), reports.notice(agent))
    return True


def _locked(agent_id: int) -> Agent:
    rows = Agent.objects.select_for_update(of=("self",))
    return rows.select_related("repository", "issue", "envelope").get(pk=agent_id)
