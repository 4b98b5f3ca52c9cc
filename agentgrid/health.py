"""Whether this process lives, whether it can work, and how the machine is: for load balancers and people."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agentgrid import brokers
from coordinator import public_api
from grid import public_bus


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers; asks nobody else, so a database outage restarts nothing."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and has our schema, else 503 with the reason. A broker outage delays, no more."""
    problem = database_problem()
    if problem:
        return HttpResponse(f"{problem}\n", status=503, content_type="text/plain")
    return HttpResponse("ready\n", content_type="text/plain")


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """All checks as JSON: `{"ok", "checks": {"database": [problem, …], "broker": […], "sweeps": […]}}`, 503 when the database fails."""
    database = database_problem()
    checks = {"database": [database] if database else [], "broker": brokers.check_queues()}
    if not database:
        checks["sweeps"] = public_api.sweeps_late()
        if public_bus.is_configured():
            checks["bus"] = public_bus.late()
    return JsonResponse({"ok": not any(checks.values()), "checks": checks}, status=503 if database else 200)


def database_problem() -> str:
    """Why the database cannot be used, in one sentence for outsiders (no host names, no SQL); empty when it can."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return f"The database does not answer ({type(error).__name__}): check DATABASE_URL"
    if pending:
        return f"{len(pending)} migrations are not applied: run `manage.py migrate`"
    return ""
