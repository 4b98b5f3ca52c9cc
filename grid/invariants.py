"""The grid's laws as queries; each returns offending rows, none when all is well."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Count, DateTimeField, ExpressionWrapper, F, Max, Min, Q
from django.db.models.functions import Now

from grid import executions, lifecycle
from grid.models import Event, EventStream, Execution
from grid.public_types import LIVE, ON_HOST, TERMINAL, ExecutionView

OVERDUE = timedelta(seconds=60)
"""Past the lease; the reaper acts after 15 s."""


def subjects_with_several_live() -> list[tuple[str, int]]:
    """Subjects that more than one live execution holds, and how many do."""
    rows = Execution.objects.filter(state__in=sorted(LIVE)).values("subject").annotate(n=Count("pk")).filter(n__gt=1)
    return [(row["subject"], row["n"]) for row in rows]


def overdue_leases() -> list[ExecutionView]:
    """Executions on a host whose lease ended long ago."""
    limit = ExpressionWrapper(Now() - OVERDUE, output_field=DateTimeField())
    return executions.find(where=Q(state__in=sorted(ON_HOST), lease_until__lt=limit))


def streams_with_gaps() -> list[tuple[str, int, int]]:
    """Streams whose numbers are not 1..n: name, rows, last number."""
    rows = Event.objects.values("stream").annotate(n=Count("pk"), last=Max("seq"), first=Min("seq"))
    broken = rows.filter(~Q(n=F("last")) | ~Q(first=1)).values_list("stream", "n", "last")
    found = list(broken[:100])
    heads = dict(rows.values_list("stream", "last")) if EventStream.objects.exists() else {}
    for name, seq in EventStream.objects.values_list("name", "seq"):
        if heads.get(name, 0) != seq:
            found.append((name, heads.get(name, 0), seq))
    return found


def broken_ends() -> list[tuple[str, str]]:
    """Executions whose end and events disagree: what, and how."""
    found = [
        (str(row.pk), f"{row.state} without an end time")
        for row in Execution.objects.filter(state__in=sorted(TERMINAL), ended_at=None)[:100]
    ]
    found += [
        (str(row.pk), f"{row.state} with an end time")
        for row in Execution.objects.filter(state__in=sorted(LIVE)).exclude(ended_at=None)[:100]
    ]
    doubled = Event.objects.filter(kind=lifecycle.ENDED).values("stream").annotate(n=Count("pk")).filter(n__gt=1)
    return found + [(row["stream"], f"{row['n']} ends") for row in doubled[:100]]
