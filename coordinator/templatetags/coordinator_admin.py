"""What the admin's start page shows: what needs a person, what runs, what was done by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.db.models import Count

from coordinator import public_api
from coordinator.documents import untrusted
from coordinator.models import Agent, AuditEntry, Envelope, RepositoryPolicy
from coordinator.public_types import ATTENTION, ENDED, AgentState, AgentView
from grid import public_api as grid
from grid.public_types import HostView
from tracker import public_writes as tracker_writes
from tracker.public_types import WriteResult

register = template.Library()
ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The start page's facts; lists hold at most `ROWS`."""

    attention: Sequence[AgentView]
    attention_total: int
    under_way: Sequence[AgentView]
    under_way_total: int
    ended_total: int
    paused: Sequence[Envelope]
    policies: Sequence[RepositoryPolicy]
    failed_writes: Sequence[WriteResult]
    hosts: Sequence[HostView]
    sweeps: Sequence[str]

    @property
    def is_calm(self) -> bool:
        """Whether nothing waits for a person."""
        return not (self.attention_total or self.paused or self.policies or self.failed_writes)


@register.simple_tag(takes_context=True)
def overview(context: Mapping[str, Any]) -> Overview | None:
    """Everything at a glance in a constant number of queries; None for those who may not see agents."""
    if not context["request"].user.has_perm("coordinator.view_agent"):
        return None
    counts = dict(Agent.objects.order_by().values_list("state").annotate(n=Count("pk")))
    attention, ended = _total(counts, ATTENTION), _total(counts, ENDED)
    return Overview(
        attention=public_api.needing_attention(limit=ROWS),
        attention_total=attention,
        under_way=public_api.under_way(limit=ROWS),
        under_way_total=sum(counts.values()) - attention - ended,
        ended_total=ended,
        paused=list(Envelope.objects.filter(paused_at__isnull=False)[:ROWS]),
        policies=list(RepositoryPolicy.objects.exclude(error="").select_related("repository").defer("policy")[:ROWS]),
        failed_writes=tracker_writes.failed(limit=ROWS),
        hosts=grid.hosts()[:ROWS],
        sweeps=public_api.sweeps_late(),
    )


@register.simple_tag(takes_context=True)
def acts_by_hand(context: Mapping[str, Any]) -> Sequence[AuditEntry]:
    """The last acts of all operators; none for those who may not see the audit."""
    if not context["request"].user.has_perm("coordinator.view_auditentry"):
        return []
    return list(AuditEntry.objects.all()[:ROWS])


@register.filter
def line(text: object) -> str:
    """Words of strangers on one line, without what cannot be seen; escaped by the template as all text is."""
    return untrusted.one_line(str(text or ""), 160)


def _total(counts: Mapping[str, int], states: frozenset[AgentState]) -> int:
    return sum(counts.get(str(state), 0) for state in states)
