"""The editable plan: a tree of agents as one document, what an edited one would change, and making it so.

People and agents come through the same functions; `plan_limits.Reach` bounds what an agent may do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from coordinator import auditing
from coordinator.agents.integration import GITHUB
from coordinator.documents import plan_nodes, plan_schema, plan_text
from coordinator.documents.plan_schema import Draft, PlanError
from coordinator.ending import outbox
from coordinator.models import Agent, AppliedPlan
from coordinator.public_errors import CoordinatorError, NotAllowedError
from coordinator.public_types import ENDED
from coordinator.rules import plan_diff, plan_rules
from coordinator.rules.plan_diff import Change, Kind
from coordinator.talk import messages
from coordinator.trees import plan_acts, plan_adopting, plan_limits, plan_tree
from coordinator.trees.plan_limits import Reach
from coordinator.trees.plan_tree import Tree
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid.public_types import LIVE, ON_HOST

ASKED = "plan.asked"
_NAMED = 12


class StaleError(NotAllowedError):
    """The tree is another one than the document was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A document."""

    text: str
    base: str
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What applying a document would do."""

    changes: tuple[Change, ...]
    queued: int = 0
    """Executions that wait and would be taken out."""
    running: int = 0
    """Agent processes that would be stopped."""
    applied_as: int | None = None
    """The revision as which this very document was applied before; then nothing is changed."""


def export(agent_id: int, *, for_agent: bool = False) -> Exported:
    """The plan below an agent; for agents without texts that nobody has approved. Raises AgentNotFoundError."""
    now = plan_tree.read(agent_id, for_agent=for_agent)
    text = plan_text.dump(
        plan_text.exported(now.root, base=now.base), name=now.root.issue, issue=now.top.issue.key or now.top.path
    )
    return Exported(text=text, base=now.base, nodes=len(now.agents))


def preview(agent_id: int, data: bytes | str, *, reach: Reach | None = None) -> Preview:
    """What applying a document would change; writes nothing.

    Raises:
        AgentNotFoundError: No such agent.
        PlanError: The document cannot be taken, with everything that is wrong in it.
        StaleError: The tree has changed since it was exported.
        NotAllowedError: An earlier plan is still being carried out.
    """
    draft = _parsed(data)
    now = plan_tree.read(agent_id, for_agent=reach is not None)
    earlier = _earlier(now, draft)
    if earlier is not None:
        return Preview(changes=(), applied_as=earlier.revision)
    changes = _checked(now, draft, reach)
    gone = [now.agents[change.id] for change in changes if change.kind == Kind.CANCEL]
    live = grid.find_executions(subjects=[agent.subject for agent in gone], live=True) if gone else []
    running = sum(run.state in ON_HOST for run in live)
    return Preview(changes=tuple(changes), queued=len(live) - running, running=running)


def apply(agent_id: int, data: bytes | str, *, actor: str, reach: Reach | None = None) -> Preview:
    """Make the tree below an agent what a document says; call it outside any transaction.

    The same document again changes nothing, whether its first answer was lost or not.

    Args:
        agent_id: The root of the document.
        data: YAML, see docs/plan.md.
        actor: `cli:root`, `admin:ann`, or `agent:12`.
        reach: Of an agent.

    Raises:
        As `preview`; NotAllowedError as well where an agent reaches too far.
    """
    draft = _parsed(data)
    with transaction.atomic():
        now = plan_tree.read(agent_id, locks=True, for_agent=reach is not None)
        if reach is not None:
            plan_limits.check_run(now, reach)
        row, changes = _earlier(now, draft), list[Change]()
        if row is None:
            changes = _checked(now, draft, reach)
            if not changes:
                return Preview(changes=())
            row = _store(now, draft, changes, actor=actor, reach=reach)
    # For one that was applied before as well: whoever did it may have died right behind the commit.
    if row.is_open and (reach is None or now.top.repository.tracker != GITHUB):  # GitHub takes longer than a tool may
        outbox.drain(now.top.repository_id)
    if row.is_open:
        plan_adopting.finish(row.pk)
    _tell(now, changes, actor=actor)
    return Preview(changes=tuple(changes), applied_as=row.revision)


def _store(now: Tree, draft: Draft, changes: Sequence[Change], *, actor: str, reach: Reach | None) -> AppliedPlan:
    """Do it, in the transaction that holds the tree."""
    row = AppliedPlan.objects.create(
        agent=now.top,
        tree_id=now.top.tree_id,
        revision=now.revision + 1,
        actor=actor[:150],
        base=draft.plan.base,
        digest=_digest(draft),
        changes=[plan_diff.as_json(change) for change in changes],
    )
    plan_acts.carry_out(row, now, draft.plan.root, changes)
    detail = {"plan": row.pk, "changes": plan_diff.counts(changes)}
    auditing.record(actor, "plan_apply", f"agent:{now.top.pk}", detail)
    told = (ASKED, {"plan": row.pk})
    if reach is not None and not grid_agents.record_call(reach.execution_id, fence=reach.fence, events=[told]):
        raise NotAllowedError(plan_limits.OVER)  # its end was committed a moment ago; all of the above is undone
    return row


def check_base(data: bytes | str, base: str) -> None:
    """Whether a document is of the base that somebody names beside it. Raises PlanError, StaleError."""
    found = plan_schema.parse(data).plan.base
    if found != base:
        raise StaleError(f"the document is of base {found}, not of {base}; take both from one get_plan")


def _parsed(data: bytes | str) -> Draft:
    draft = plan_schema.parse(data)
    problems = plan_rules.alone(draft)
    if problems:
        raise PlanError(problems)
    return draft


def _earlier(now: Tree, draft: Draft) -> AppliedPlan | None:
    rows = AppliedPlan.objects.filter(agent_id=now.top.pk, base=draft.plan.base, digest=_digest(draft))
    return rows.first()


def _digest(draft: Draft) -> str:
    return hashlib.sha256(json.dumps(plan_text.asked_for(draft.plan.root), sort_keys=True).encode()).hexdigest()


def _checked(now: Tree, draft: Draft, reach: Reach | None) -> list[Change]:
    """The changes, when everything about them is in order."""
    problems = plan_rules.beside(draft, now.root, now.present)
    is_stale = draft.plan.base != now.base
    if is_stale and draft.plan.root.id == now.root.id:
        # Before what is wrong with single nodes: that may follow from it.
        _refuse_stale(now, draft)
    if problems:
        raise PlanError(problems)
    changes = plan_diff.diff(now.root, draft.plan.root)
    if not changes:
        return changes
    _refuse_while_pending(now)
    problems = [
        *plan_rules.refusals(draft, changes, now.root, now.present),
        *plan_limits.beyond(now, draft, changes, reach),
    ]
    if problems:
        raise PlanError(problems)
    return changes


def _refuse_stale(now: Tree, draft: Draft) -> None:
    if not plan_rules.beside(draft, now.root, now.present) and not plan_diff.diff(now.root, draft.plan.root):
        return  # it asks for what is there already
    _refuse_while_pending(now)
    named = plan_nodes.changed_since(draft.plan, now.root)
    shown = "; ".join(named[:_NAMED]) + (f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else "")
    raise StaleError(
        f"the tree has changed since this plan was exported (base {draft.plan.base or '-'}, now {now.base})"
        f"{': ' + shown if shown else ''}. Export it again and put your changes into it"
    )


def _refuse_while_pending(now: Tree) -> None:
    why = plan_adopting.pending(now.top.tree_id)
    if why:
        raise NotAllowedError(why)


def _tell(now: Tree, changes: Sequence[Change], *, actor: str) -> None:
    """Those that run are told what is asked of them from now on; what is not told so stands in their next prompt."""
    for change in changes:
        if change.kind != Kind.CHANGE or not plan_acts.TAKES_WORK & change.fields.keys():
            continue
        agent = Agent.objects.select_related("execution").get(pk=now.agents[change.id].pk)
        if agent.state in ENDED or agent.execution is None or agent.execution.state not in LIVE:
            continue
        text = (
            "Your task was changed while you work on it. "
            f"{plan_diff.in_words(change)}. Finish this run soon: you are started again with the new text."
        )
        try:
            messages.tell(agent.pk, sender=actor, text=text)
        except CoordinatorError:
            continue  # too many wait; the next prompt says it all
