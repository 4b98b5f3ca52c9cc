"""The rows of conflicts: the only writer of `Conflict`, and what others ask of them. Each change is an event with its columns.

Below `dispatch`, which asks who waits because of a conflict; opening one with everybody told is `coordinator.teamwork.conflicts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from coordinator import lifecycle, wake
from coordinator.agents import integration
from coordinator.conf import conf
from coordinator.documents.untrusted import one_line
from coordinator.models import Agent, Conflict, Message
from coordinator.public_errors import AgentNotFoundError, CoordinatorError
from coordinator.public_types import ENDED, MessageKind
from coordinator.rules import conflict_rules as rules
from coordinator.rules.conflict_rules import APART, STANDING, Ancestor, ConflictState, Decision, Kind, Sides
from coordinator.rules.conflict_steps import StepName, steps
from grid import public_events as grid_events
from grid import public_paths as grid_paths
from grid.public_errors import GridError
from grid.public_sql import Prepared
from grid.public_types import LIVE

MAX_PATTERNS = 50
_TRIES = 5
MAX_LINE = 64
"""Agents between one and its root."""
_STANDING = sorted(str(state) for state in STANDING)
_ANY_STANDS = Prepared(lambda: Conflict.objects.filter(state__in=_STANDING).order_by().values_list("pk", flat=True)[:1])


def open_row(
    kind: Kind,
    *,
    requester: Agent,
    holder: Agent,
    patterns: Sequence[str],
    facts: dict[str, Any] | None = None,
    detail: dict[str, Any] | None = None,
    waits: bool = True,
    seconds: int | None = None,
) -> tuple[Conflict, bool]:
    """Open a conflict, or join the one that these two have about the same; in the caller's transaction or its own.

    Nobody is told yet: a worker is woken that announces it.

    Args:
        patterns: Paths that both want; at most 50 are kept.
        facts: For those who decide.
        detail: For carrying it out.
        waits: Whether the requester is not started until it is decided.
        seconds: Until the default; None: as set.

    Returns:
        The row, and whether it is new.
    """
    wanted = _bounded(patterns)
    with transaction.atomic():
        for _ in range(_TRIES):
            standing = _joinable(kind, requester, holder, wanted)
            if standing is not None:
                return _join(standing, wanted), False
            now = timezone.now()
            row = Conflict(
                kind=kind,
                repository=integration.key(requester),
                patterns=wanted,
                requester=requester,
                holder=holder,
                arbiter_id=rules.arbiter(line_of(requester), line_of(holder)),
                pair=pair_of(requester.pk, holder.pk),
                facts=facts or {},
                detail=detail or {},
                waiter=requester if waits else None,
                default_at=now + timedelta(seconds=conf().conflict_seconds if seconds is None else seconds),
                created_at=now,
                updated_at=now,
            )
            try:
                with transaction.atomic():
                    row.save(force_insert=True)
            except IntegrityError:  # somebody was faster; and that one may be decided, or over, when we look again
                continue
            record(row, "conflict.opened", {"reason": row.facts.get("reason", "")}, all_columns=True)
            wake.conflict(row.pk)
            return row, True
    raise CoordinatorError(f"agents {row.pair} meet at too many things at once; ask again")


def change(
    row: Conflict,
    kind: str,
    body: dict[str, Any] | None = None,
    *,
    only_if: dict[str, Any] | None = None,
    **fields: Any,
) -> bool:
    """Change columns with one event in the same transaction; False when a condition did not hold, nothing is written then.

    Args:
        row: Its attributes are set on success.
        kind: Of the event.
        body: What the event says beside the columns.
        only_if: Conditions of the UPDATE.
    """
    values = {"updated_at": timezone.now(), **fields}
    with transaction.atomic():
        if not Conflict.objects.filter(pk=row.pk, **(only_if or {})).update(**values):
            return False
        for name, value in values.items():
            setattr(row, name, value)
        record(row, kind, body or {}, columns=tuple(values))
    return True


def take_merge_back(row: Conflict, mergers: Sequence[int]) -> None:
    """Whoever was given the merge of a conflict is not to begin it any more; a run that does it already goes on."""
    live = [str(state) for state in LIVE]
    others = Agent.objects.filter(pk__in=mergers).exclude(pk=row.requester_id).exclude(execution__state__in=live)
    for merger in others:
        if row.kind == Kind.MERGE and merger.conflict.get("commit") == row.detail.get("ours"):
            lifecycle.change(merger, only_if={"execution_id": merger.execution_id}, conflict={}, next_mode="")


def record(
    row: Conflict, kind: str, body: dict[str, Any], *, columns: Sequence[str] = (), all_columns: bool = False
) -> None:
    """An event about a conflict on its requester's stream, in the caller's transaction."""
    rows = [grid_events.row(row, *columns)] if columns or all_columns else []
    about = {"conflict": row.pk, "kind": row.kind, "patterns": row.patterns[:5], "requester": row.requester_id}
    more = {"holder": row.holder_id, "arbiter": row.arbiter_id}
    lifecycle.record(row.requester, (kind, {**about, **more, **body, **({"rows": rows} if rows else {})}))


def sides(row: Conflict) -> Sides:
    """The agents of a conflict."""
    return Sides(requester=row.requester_id, holder=row.holder_id, arbiter=row.arbiter_id)


def decision(row: Conflict) -> Decision | None:
    """What is decided; None of one that is open, or ended without a decision."""
    if not row.choice:
        return None
    return Decision(choice=rules.Choice(row.choice), order=tuple(row.order))


def pair_of(one: int, other: int) -> str:
    """`3:7`, in either order the same."""
    return f"{min(one, other)}:{max(one, other)}"


def line_of(agent: Agent) -> list[Ancestor]:
    """The agent and those above it, up to its root."""
    found = [Ancestor(id=agent.pk, is_ended=agent.state in ENDED)]
    above = agent.parent_id
    while above is not None and len(found) < MAX_LINE:
        row = Agent.objects.values("parent_id", "state").get(pk=above)
        found.append(Ancestor(id=above, is_ended=row["state"] in ENDED))
        above = row["parent_id"]
    return found


def locked(conflict_id: int) -> Conflict:
    """A conflict with its agents, its row and theirs held until the transaction ends. Raises AgentNotFoundError."""
    rows = Conflict.objects.filter(pk=conflict_id)
    ids = rows.values_list("requester_id", "holder_id", "arbiter_id").first()
    # Theirs first, the lowest before those above it, as whoever decides about an agent or ends several holds them: steps
    # write to the streams of these agents and have them looked at, and everybody else takes row and stream in this order.
    agents = Agent.objects.select_for_update(no_key=True).filter(pk__in=ids or ())
    list(agents.order_by("-depth", "pk").values_list("pk"))
    row = rows.select_for_update(of=("self",), no_key=True).select_related("requester", "holder", "arbiter").first()
    if row is None:
        raise AgentNotFoundError(f"no conflict {conflict_id}; `conflict list` shows those that stand")
    return row


# --- what others ask -------------------------------------------------------------------------------------------


def any_stands() -> bool:
    """Whether there is any conflict to look at; as a rule there is none, and all other questions are ten times dearer."""
    return _ANY_STANDS.exists()


def wait_of(agent_id: int) -> str:
    """Why an agent is not started because of a conflict, in words; empty when it may be."""
    if not any_stands():
        return ""
    # The column names who goes first while that one waits for the second to stop; it is empty when both are let go.
    second = Q(choice=rules.Choice.SEQUENCE, order__1=agent_id, waiter__isnull=False)
    row = Conflict.objects.filter(Q(waiter_id=agent_id) | second, state__in=_STANDING).order_by("pk").first()
    if row is None:
        return ""
    what = one_line(row.patterns[0] if row.patterns else "the same files", 100)
    if row.state == ConflictState.OPEN:
        who = f"agent {row.arbiter_id}" if row.arbiter_id else "a person"
        return f"conflict {row.pk} with agent {row.holder_id} about {what} is to be decided by {who}"
    return f"conflict {row.pk} about {what}: {row.choice}, and agent {_ahead(row, agent_id)} comes first"


def over_untold(agent_id: int, *, since: datetime) -> Conflict | None:
    """A conflict that had an agent wait, and of which there is news since then that it has not seen."""
    news = Message.objects.filter(agent_id=agent_id, created_at__gte=since, post__sender="grid")
    news = news.filter(post__kind=MessageKind.CONFLICT, state__in=(Message.State.QUEUED, Message.State.DELIVERED))
    second = Q(choice=rules.Choice.SEQUENCE, order__1=agent_id)
    rows = Conflict.objects.filter(Q(requester_id=agent_id) | second, thread_id__in=news.values("post__thread_id"))
    return rows.exclude(kind=Kind.MERGE).order_by("-pk").first()


def to_decide(agent: Agent, *, is_new: bool = False) -> list[Conflict]:
    """Open conflicts that an agent is to decide, the oldest first.

    Args:
        is_new: Only those that came since its last run began; the agent comes with its last execution.
    """
    rows = Conflict.objects.filter(arbiter_id=agent.pk, state=ConflictState.OPEN)
    if is_new and agent.execution is not None:
        rows = rows.filter(created_at__gt=agent.execution.created_at)
    return list(rows.order_by("pk")[:20])


def apart(agent_id: int) -> dict[int, list[str]]:
    """Other agents, with the paths that both change at once by a decision (`fork`, `merge_plan`): of nobody else they are free."""
    chosen = sorted(str(choice) for choice in APART)
    rows = Conflict.objects.filter(Q(requester_id=agent_id) | Q(holder_id=agent_id)).exclude(kind=Kind.MERGE)
    found: dict[int, list[str]] = {}
    for row in rows.filter(state=ConflictState.DECIDED, choice__in=chosen).order_by("pk"):
        found.setdefault(sides(row).other(agent_id), []).extend(row.patterns)
    return found


def merge_to_wait_for(agent_id: int) -> Conflict | None:
    """The plan by which this agent merges after the other one, which has not ended: the end of this one has to wait."""
    rows = Conflict.objects.filter(state=ConflictState.DECIDED, choice=rules.Choice.MERGE_PLAN)
    rows = rows.exclude(kind=Kind.MERGE).filter(Q(requester_id=agent_id) | Q(holder_id=agent_id))
    for row in rows.select_related("requester"):
        plan = steps(Kind(row.kind), sides(row), Decision(choice=rules.Choice.MERGE_PLAN, order=tuple(row.order)))
        is_left = any(step.name == StepName.APPLY for step in plan[row.step :])
        if list(row.order) == [agent_id] and is_left and _is_moving(sides(row).other(agent_id)):
            return row
    return None


def planned_merger(agent_id: int, paths: Sequence[str]) -> Conflict | None:
    """The decision that says who merges when this agent's work does not fit together with another's on these paths."""
    chosen = sorted(str(choice) for choice in APART)
    rows = Conflict.objects.filter(Q(requester_id=agent_id) | Q(holder_id=agent_id))
    rows = rows.filter(state=ConflictState.DECIDED, choice__in=chosen).exclude(kind=Kind.MERGE).order_by("-pk")
    return next((row for row in rows if rules.overlaps(row.patterns, paths)), None)


def between(agent_id: int, other_ids: Sequence[int], paths: Sequence[str]) -> Conflict | None:
    """A conflict of an agent with one of these that stands and is about one of these paths."""
    pairs = [pair_of(agent_id, other) for other in other_ids]
    rows = Conflict.objects.filter(pair__in=pairs, state__in=_STANDING).exclude(kind=Kind.MERGE).order_by("-pk")
    return next((row for row in rows if rules.overlaps(row.patterns, paths)), None)


def _is_moving(agent_id: int) -> bool:
    return Agent.objects.filter(pk=agent_id, state__in=["new", "queued", "running"]).exists()


def _ahead(row: Conflict, agent_id: int) -> int:
    """Whom it waits for; who goes first waits until the other one has stopped."""
    first = next(iter(row.order), row.holder_id)
    return int(first) if first != agent_id else sides(row).other(agent_id)


def _joinable(kind: Kind, requester: Agent, holder: Agent, patterns: Sequence[str]) -> Conflict | None:
    """An open one of these two and this kind, or one that is decided and about the same paths."""
    rows = Conflict.objects.filter(pair=pair_of(requester.pk, holder.pk), state__in=_STANDING).order_by("pk")
    for row in rows.filter(kind=kind):
        if row.state == ConflictState.OPEN:
            return row
        if kind != Kind.MERGE and rules.overlaps(row.patterns, patterns):
            return row
    return None


def _join(row: Conflict, patterns: Sequence[str]) -> Conflict:
    locked = Conflict.objects.select_for_update(of=("self",), no_key=True).select_related("requester").get(pk=row.pk)
    more = [pattern for pattern in patterns if pattern not in locked.patterns]
    fields: dict[str, Any] = {"joined": locked.joined + 1}
    if more and locked.state == ConflictState.OPEN:
        fields["patterns"] = [*locked.patterns, *more][:MAX_PATTERNS]
    change(locked, "conflict.joined", **fields)
    return locked


def _bounded(patterns: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(_plain(pattern) for pattern in patterns if pattern.strip()))[:MAX_PATTERNS]


def _plain(pattern: str) -> str:
    """A pattern as locks have it, to the letter: one that was made nicer for people is another path, which nobody has locked."""
    try:
        return grid_paths.check_pattern(pattern)
    except GridError:  # git knows names that no lock can have
        return one_line(pattern, 300)
