"""The grid's admin: every page shows hostile rows harmlessly, in a constant number of queries, and changes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from grid import models
from grid.models import Event, EventCursor, EventStream, Execution, FileLock, Host, InboxItem, LockSpace
from grid.public_types import State
from tests.integration.admin_pages import HOSTILE, HOSTILE_MARKUP, checked, links

MODELS = [getattr(models, name) for name in models.__all__]
RESULT = {
    "outcome": {"kind": "done", "summary": HOSTILE, "children": [], "comment": HOSTILE},
    "checks": [{"command": HOSTILE, "passed": False, "exit_code": 1, "seconds": 0.5, "tail": HOSTILE}],
    "head": "a" * 40,
    "reason": HOSTILE,
}


@pytest.fixture
def browser(db: None, client: Client, django_user_model: Any, settings: Any, state_dir: Path) -> Client:
    """Logged in as the superuser `admin`."""
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder
    client.force_login(django_user_model.objects.create_superuser("admin"))
    return client


def fill(count: int) -> Execution:
    """Rows of every table, their texts hostile; the execution that is returned has 250 events."""
    hosts = Host.objects.bulk_create(
        Host(name=f"{HOSTILE_MARKUP[:40]}/{uuid4().hex[:8]}", slots=4, pid=1, note=HOSTILE) for _ in range(count)
    )
    rows = Execution.objects.bulk_create(
        Execution(
            subject=f"issue:{uuid4()}",
            root="tree:1",
            mode="work",
            state=State.RUNNING if number % 2 else State.FAILED,
            spec={"agent": {"env": {"TOKEN": "hunter2"}, "options": {"command": HOSTILE}}, "work": {"base": "b" * 40}},
            prompt=HOSTILE,
            agent="command",
            repository="r1",
            branch=f"agent/{number}",
            host=hosts[number].name,
            lease_until=timezone.now() - timedelta(seconds=5),
            claimed_at=timezone.now(),
            phase="agent",
            progress={"said": HOSTILE},
            stop_reason=HOSTILE_MARKUP,
            result=RESULT,
            reason=HOSTILE,
        )
        for number in range(count)
    )
    EventStream.objects.bulk_create(EventStream(name=f"agent:{row.pk}", root="tree:1", seq=0) for row in rows)
    InboxItem.objects.bulk_create(
        InboxItem(execution=row, key=HOSTILE_MARKUP[:40], sender=HOSTILE[:150], text=HOSTILE) for row in rows
    )
    spaces = LockSpace.objects.bulk_create(
        LockSpace(repository=f"{HOSTILE_MARKUP[:40]}{row.pk}"[:64], token=1) for row in rows
    )
    FileLock.objects.bulk_create(
        FileLock(
            repository=space.repository,
            execution=row,
            pattern=HOSTILE[:400],
            key=HOSTILE[:400],
            state="held",
            token=1,
            reason=HOSTILE[:300],
            asked_at=timezone.now(),
        )
        for space, row in zip(spaces, rows, strict=True)
    )
    EventCursor.objects.bulk_create(EventCursor(name=f"reader {row.pk}") for row in rows)
    events = [Event(stream=row.stream, seq=1, root="tree:1", kind="x", body={"text": HOSTILE}) for row in rows]
    events += [
        Event(stream=rows[0].stream, seq=n, root="tree:1", kind="x", body={"n": f"n{n}."}) for n in range(2, 251)
    ]
    Event.objects.bulk_create(events)
    return rows[0]


def page(model: Any, kind: str, pk: Any = None) -> str:
    return reverse(f"admin:grid_{model._meta.model_name}_{kind}", args=[] if pk is None else [quote(pk)])


def some(model: Any) -> Any:
    return model.objects.order_by("pk").first().pk


def test_every_model_is_in_the_admin() -> None:
    assert set(MODELS) <= set(admin.site._registry)


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS)
def test_pages_show_hostile_rows_harmlessly(browser: Client, model: Any) -> None:
    fill(2)
    checked(browser.get(page(model, "changelist")))
    for row in model.objects.all()[:3]:
        checked(browser.get(page(model, "change", row.pk)))


@pytest.mark.django_db
def test_lists_take_a_constant_number_of_queries(browser: Client) -> None:
    def counts() -> dict[str, int]:
        found = {}
        for model in MODELS:
            with CaptureQueriesContext(connection) as queries:
                browser.get(page(model, "changelist"))
            found[model.__name__] = len(queries)
        return found

    fill(10)
    few = counts()
    fill(990)
    assert counts() == few
    assert max(few.values()) <= 12, few


@pytest.mark.django_db
def test_lists_leave_large_columns_in_the_database(browser: Client) -> None:
    fill(3)
    with CaptureQueriesContext(connection) as queries:
        browser.get(page(Execution, "changelist"))
    assert not [query for query in queries if '"grid_execution"."prompt"' in query["sql"]]


@pytest.mark.django_db
def test_an_execution_shows_prompt_spec_result_and_its_last_events(browser: Client) -> None:
    html = checked(browser.get(page(Execution, "change", fill(1).pk)))
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;/script&gt;{{7*7}}\\u001b[31m\\u202eevil\\u200b" in html
    for said in ("b" * 40, "a" * 40, "all events", "TOKEN", "n250."):
        assert said in html
    assert "n50." not in html  # 200 events at most
    assert "hunter2" not in html
    assert reverse("admin:coordinator_ledgerentry_changelist") in html


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes_a_row(browser: Client, model: Any) -> None:
    fill(1)
    pk = some(model)
    assert browser.get(page(model, "add")).status_code == 403
    assert browser.post(page(model, "change", pk), {"state": "queued"}).status_code == 403
    assert browser.post(page(model, "delete", pk), {"post": "yes"}).status_code == 403
    browser.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": pk, "post": "yes"})
    assert model.objects.filter(pk=pk).exists()


@pytest.mark.django_db
def test_executions_are_found_by_id_prefix_subject_and_group(browser: Client) -> None:
    fill(4)
    row = Execution.objects.filter(state=State.FAILED).first()
    assert row is not None

    def found(**query: str) -> int:
        return int(browser.get(page(Execution, "changelist"), query).context["cl"].result_count)

    assert found(q=str(row.pk)) == found(q=str(row.pk)[:8]) == found(q=row.subject) == 1
    assert found(q="tree:1") == 4
    assert found(q=row.subject[:-1]) == 0
    assert found(group="live") == found(group="attention") == found(group="ended") == 2
    assert found(on=row.host, group="ended") == 1
    assert found(q="'%") == 0


@pytest.mark.django_db
def test_hosts_say_what_they_run_and_link_to_it(browser: Client) -> None:
    fill(1)
    home = Host.objects.get()  # its name needs quoting in an address
    Execution.objects.update(state=State.RUNNING)
    html = checked(browser.get(page(Host, "changelist")))
    (runs,) = [url for url in links(html) if "group=live" in url]
    assert browser.get(page(Execution, "changelist") + runs.partition("/execution/")[2]).context["cl"].result_count == 1
    assert ">1</a>" in html
    html = checked(browser.get(page(Execution, "changelist")))
    (itself,) = [url for url in links(html) if url == page(Host, "change", home.pk)]
    assert "alive" in checked(browser.get(itself))


@pytest.mark.django_db
def test_events_are_found_by_stream_and_root(browser: Client) -> None:
    row = fill(2)
    listed = browser.get(page(Event, "changelist"), {"q": row.stream}).context["cl"]
    assert listed.result_count == 250
    assert browser.get(page(Event, "changelist"), {"q": "tree:1"}).context["cl"].result_count == 251


@pytest.mark.django_db
def test_a_long_list_is_counted_only_so_far(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grid.public_admin.COUNTED_ROWS", 120)
    fill(1)
    assert browser.get(page(Event, "changelist")).context["cl"].result_count == 120


@pytest.mark.django_db
def test_staff_without_permission_see_nothing(
    client: Client, django_user_model: Any, settings: Any, state_dir: Path
) -> None:
    settings.STATIC_ROOT = str(state_dir)
    fill(1)
    assert browser_status(client) == {302}
    client.force_login(django_user_model.objects.create_user("ann", is_staff=True))
    assert browser_status(client) == {403}


def browser_status(client: Client) -> set[int]:
    return {client.get(page(model, "changelist")).status_code for model in MODELS}
