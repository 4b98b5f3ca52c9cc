"""The coordinator's tables, as the event log sees them: which are state, and what follows from others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import models

from coordinator.models import Agent, Envelope, LedgerEntry, ModelCall, SpendEntry
from coordinator.public_types import ScopeKind
from grid.public_events import BaseTable, StateTable, register_tables

_SWEEP = "when a sweep looks again; it looks too early rather than not at all"
_CLOCK = "the time of its event tells it"
_SUM = "summed up from ledger and spend entries"

COUNTERS = (
    "live",
    "executions_reserved",
    "executions_spent",
    "wall_reserved_seconds",
    "wall_spent_seconds",
    "usd_reserved_micros",
    "usd_spent_micros",
    "tokens_reserved",
    "tokens_spent",
    "unpriced_tokens",
    "tool_calls_reserved",
    "tool_calls_spent",
    "children_spent",
)


def without_until(decision: Any) -> Any:
    """An answer to a nudge without the time when it is thought over."""
    return {**decision, "until": None} if isinstance(decision, dict) else decision


def count_again(alias: str) -> None:
    """Work out every envelope's counters from the entries in the database of this alias."""
    sums: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTERS, 0))
    _count_runs(LedgerEntry.objects.using(alias), sums)
    unpriced = ModelCall.objects.using(alias).filter(state=ModelCall.State.SETTLED, usd_micros=None)
    _count_calls(SpendEntry.objects.using(alias), set(unpriced.values_list("pk", flat=True)), sums)
    _count_children(Envelope.objects.using(alias).filter(kind=ScopeKind.AGENT, is_counted=True), sums)
    for pk in Envelope.objects.using(alias).values_list("pk", flat=True):
        Envelope.objects.using(alias).filter(pk=pk).update(**sums[pk])


def _count_runs(entries: models.QuerySet[LedgerEntry], sums: dict[int, dict[str, int]]) -> None:
    columns = ("execution_id", "envelope_id", "executions", "wall_seconds", "tool_calls")
    settled = set()
    for execution_id, pk, executions, seconds, calls in entries.filter(kind="settle").values_list(*columns).iterator():
        settled.add((execution_id, pk))
        _add(sums[pk], executions_spent=executions, wall_spent_seconds=seconds, tool_calls_spent=calls)
    for execution_id, pk, executions, seconds, calls in entries.filter(kind="reserve").values_list(*columns).iterator():
        if (execution_id, pk) not in settled:
            held = {"executions_reserved": executions, "wall_reserved_seconds": seconds, "tool_calls_reserved": calls}
            _add(sums[pk], live=1, **held)


def _count_calls(entries: models.QuerySet[SpendEntry], unpriced: set[Any], sums: dict[int, dict[str, int]]) -> None:
    columns = ("call_id", "envelope_id", "usd_micros", "tokens")
    settled = set()
    for call_id, pk, usd, tokens in entries.filter(kind="settle").values_list(*columns).iterator():
        settled.add((call_id, pk))
        free = tokens if call_id in unpriced else 0
        _add(sums[pk], usd_spent_micros=usd, tokens_spent=tokens, unpriced_tokens=free)
    for call_id, pk, usd, tokens in entries.filter(kind="reserve").values_list(*columns).iterator():
        if (call_id, pk) not in settled:
            _add(sums[pk], usd_reserved_micros=usd, tokens_reserved=tokens)


def _count_children(envelopes: Iterable[Envelope], sums: dict[int, dict[str, int]]) -> None:
    for envelope in envelopes:
        for above in envelope.path_ids[:-1]:
            _add(sums[above], children_spent=1)


def _add(sums: dict[str, int], **amounts: int) -> None:
    for name, amount in amounts.items():
        sums[name] += amount


def _table_of(name: str) -> models.QuerySet[Any]:
    """The rows that a foreign key of agents refers to: the tracker's, which only these keys know here."""
    model: Any = Agent._meta.get_field(name).related_model
    rows: models.QuerySet[Any] = model._default_manager.all()
    return rows


def _issues(root: str) -> models.QuerySet[Any]:
    """The issues of a tree's agents, or of all agents."""
    issues = _table_of("issue").order_by("pk")
    kind, _, number = root.partition(":")
    if not root:
        return issues.filter(agent__isnull=False)
    if kind != "tree" or not number.isdecimal():
        return issues.none()
    return issues.filter(models.Q(agent__root_id=int(number)) | models.Q(agent__pk=int(number)))


def _repositories(root: str) -> models.QuerySet[Any]:
    """The repositories of those issues."""
    return _table_of("repository").order_by("pk").filter(pk__in=_issues(root).order_by().values("repository_id"))


def _shared(root: str) -> models.QuerySet[Envelope]:
    """What a tree's envelopes hang under; with the events of all roots they need not be said."""
    if not root:
        return Envelope.objects.none()
    return Envelope.objects.exclude(kind__in=[ScopeKind.TREE, ScopeKind.AGENT]).order_by("pk")


def register() -> None:
    """Tell the grid's log of our tables."""
    register_tables(
        state=(
            StateTable(
                table="coordinator_agent",
                ignored={
                    "updated_at": "orders the sweeps' work",
                    "resume_due_at": _SWEEP,
                    "resume_backoff_seconds": _SWEEP,
                },
                normalise={"decision": without_until},
            ),
            StateTable(
                table="coordinator_nudge",
                ignored={"not_before": _SWEEP, "answered_at": _CLOCK},
                normalise={"decision": without_until},
            ),
            StateTable(table="coordinator_envelope", derived=dict.fromkeys(COUNTERS, _SUM), derive=count_again),
            StateTable(table="coordinator_ledgerentry"),
            StateTable(table="coordinator_spendentry"),
            StateTable(
                table="coordinator_modelcall",
                ignored={
                    "started_at": _CLOCK,
                    "ended_at": _CLOCK,
                    "owner": "a process of ours, as it is at this moment",
                },
            ),
            StateTable(table="coordinator_upgraderequest"),
            StateTable(table="coordinator_feedback"),
            StateTable(table="coordinator_auditentry"),
            StateTable(table="coordinator_thread"),
            StateTable(table="coordinator_threadmember"),
            StateTable(table="coordinator_post"),
            StateTable(table="coordinator_message"),
            StateTable(table="coordinator_appliedplan"),
            StateTable(table="coordinator_conflict", ignored={"updated_at": "orders the sweeps' work"}),
        ),
        base=(
            BaseTable(
                table="tracker_repository",
                why="its truth is the tracker",
                rows=_repositories,
                ignored=frozenset(
                    {"created_at", "swept_until", "swept_at", "backfill", "outbox_token", "outbox_lease_until"}
                ),
            ),
            BaseTable(
                table="tracker_issue",
                why="its truth is the tracker",
                rows=_issues,
                ignored=frozenset({"parent_id"}),
            ),
            BaseTable(table="coordinator_envelope", why="its events are on other roots", rows=_shared),
        ),
        not_state={
            "coordinator_definition": "versions of files that operators wrote; none is ever changed or lost",
            "coordinator_prompt": "the same, of the prompt library; an execution's prompt is in its own row",
            "coordinator_repositorypolicy": "a copy of the file in the repository, read anew every few minutes",
            "coordinator_command": "comments that were answered; their truth is the tracker",
            "coordinator_sweepslot": "the clock of periodic work",
            "coordinator_gatewayprocess": "processes, as they are at this moment",
        },
    )
