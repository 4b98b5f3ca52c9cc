"""An operator hands in work: repository, issue, agent, first nudge."""

from __future__ import annotations

import hashlib

from django.db import transaction

from coordinator.agents import roster
from coordinator.care import catalogue, profiles, repositories
from coordinator.launching import dispatch
from coordinator.models import Agent, Nudge
from coordinator.operating import control
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import Source, Submission
from grid import public_agents as grid_agents
from grid.public_errors import GridError
from grid.public_types import AgentSpec
from tracker import public_api as tracker
from tracker.public_errors import InvalidError
from tracker.public_types import IssueDraft


def submit(*, repository_id: int, submission: Submission, actor: str) -> tuple[Agent, Nudge, bool]:
    """Open an issue on the local tracker, take it on and nudge it.

    Returns:
        The agent, the nudge with its answer, and whether the issue is new. The same submission again finds the same issue.

    Raises:
        InvalidInputError: The agent cannot be run as asked, or the tracker would refuse the issue.
    """
    spec: dict[str, object] = {"acceptance": list(submission.acceptance)}
    if submission.adapter:
        try:
            grid_agents.check_agent(AgentSpec(adapter=submission.adapter, options=submission.options))
        except GridError as error:
            raise InvalidInputError(str(error)) from error
        spec |= {"adapter": submission.adapter, "options": dict(submission.options)}
    repositories.refresh(repository_id)
    if submission.profile:
        catalogue.profile(submission.profile, repository_id=repository_id)
    try:
        with transaction.atomic():
            issue = tracker.create_issue(
                repository_id=repository_id,
                draft=IssueDraft(title=submission.title, body=submission.body),
                dedupe_key=f"submit:{_key(submission)}",
                author=actor,
            )
            issue_id = tracker.issue_id(issue.ref, repository_id=repository_id)
            is_new = not Agent.objects.filter(issue_id=issue_id).exists()
            agent = roster.take_on(
                issue_id=issue_id,
                repository_id=repository_id,
                spec=spec,
                profile=submission.profile,
                priority=submission.priority,
            )
            if is_new and agent.envelope.parent is not None:
                limits = repositories.effective_policy(repositories.policy_of(repository_id))
                repositories.cap_tree(agent.envelope.parent, limits)
            # Again is not a person's retry: a script that submits hourly must not wake what failed or is blocked.
            source = Source.OPERATOR if is_new else Source.SWEEP
            nudge = dispatch.nudge(agent.pk, source=source, reason=f"submitted by {actor}")
            control.audit(actor, "submit", str(issue.ref), {"new": is_new, "answer": nudge.answer})
    except InvalidError as error:
        raise InvalidInputError(str(error)) from error
    agent.refresh_from_db()
    return agent, nudge, is_new


def not_used(agent: Agent, submission: Submission) -> tuple[str, ...]:
    """What of a repeated submission differs from how its agent stands and is therefore without effect; only what it names.

    Returns:
        Any of `adapter`, `option NAME`, `profile`, `acceptance` and `priority`.
    """
    spec = agent.spec
    options = spec.get("options") or {}
    found = []
    if submission.adapter and submission.adapter != spec.get("adapter", ""):
        found.append("adapter")
    found += [f"option {name}" for name in sorted(submission.options) if submission.options[name] != options.get(name)]
    if submission.profile and submission.profile != agent.profile:
        found.append("profile")
    if submission.acceptance and list(submission.acceptance) != list(spec.get("acceptance") or ()):
        found.append("acceptance")
    if submission.priority and submission.priority != agent.priority:
        found.append("priority")
    return tuple(found)


def why_missing(agent_id: int) -> str:
    """Why this machine could not start the agent's next run, as its program is not there; empty when it could."""
    agent = Agent.objects.select_related("repository", "envelope__parent", "parent", "issue").get(pk=agent_id)
    policy = repositories.effective_policy(repositories.policy_of(agent.repository_id))
    found = profiles.standing(agent, policy)
    try:
        return grid_agents.why_missing(found.agent, profile=found.frozen)
    except GridError:
        return ""  # it cannot be run as asked at all, which the answer to its nudge says


def _key(submission: Submission) -> str:
    text = submission.key or f"{submission.title}\0{submission.body}"
    return hashlib.sha256(text.encode()).hexdigest()
