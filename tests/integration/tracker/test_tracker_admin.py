"""The admin: every page renders hostile rows harmlessly, in a constant number of queries, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tracker import models, public_api, public_writes
from tracker.public_types import IssueDraft, RepositoryView, Write, WriteKind

HOSTILE = "<script>alert(1)</script>"
MODELS = [getattr(models, name) for name in models.__all__]


@pytest.fixture
def browser(admin_client: Client, settings: Any, state_dir: Path) -> Client:
    """Logged in as a superuser."""
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder
    return admin_client


def fill(repository: RepositoryView, count: int) -> None:
    tracker = public_api.tracker_for(repository.id)
    draft = IssueDraft(title=HOSTILE, body=HOSTILE, labels=(HOSTILE, "agent:hold"))
    parent = public_api.create_issue(repository_id=repository.id, draft=draft).ref
    for number in range(count):
        child = tracker.create(repository.scope, draft, f"{parent.key}.{number}").ref
        tracker.link_child(parent, child)
        tracker.set_blockers(parent, {child})
        tracker.assign(child, "operator")
        comment = public_api.add_comment(public_api.issue_id(child), markdown=HOSTILE, author="<b>")
        tracker.react(child, "eyes")
        tracker.react(child, "eyes", comment.id)
        payload = {"ref": HOSTILE, "reason": "completed"}
        public_writes.wish(repository.id, [Write(key=f"{HOSTILE} {child.key}", kind=WriteKind.CLOSE, payload=payload)])
    public_writes.drain(repository.id, now=timezone.now())
    fill_github(repository, count)


def fill_github(repository: RepositoryView, count: int) -> None:
    now = timezone.now()
    row = models.Repository.objects.get(pk=repository.id)
    first = models.Change.objects.count()
    for number in range(first, first + count):
        models.Change.objects.create(
            repository=row,
            key=str(number),
            remote_id=7_000 + number,
            title=HOSTILE,
            head_branch=HOSTILE,
            base_branch="main",
            updated_at=now,
        )
        models.Delivery.objects.create(
            guid=f"{HOSTILE}{number}",
            event=HOSTILE,
            action=HOSTILE,
            scope=HOSTILE,
            sender=HOSTILE,
            payload={HOSTILE: HOSTILE},
            error=HOSTILE,
            received_at=now,
        )
        models.Creation.objects.create(repository=row, name=f"{HOSTILE}{number}", since=now, attempted_at=now)
        models.Installation.objects.create(installation_id=number, account=HOSTILE, updated_at=now)
        models.Permission.objects.create(repository=row, login=f"{HOSTILE}{number}", trust="none", checked_at=now)
        models.Quota.objects.create(account=f"{HOSTILE}{number}", updated_at=now)


def page(model: Any, kind: str) -> str:
    arguments = [] if kind == "changelist" else [model.objects.order_by("pk").first().pk]
    return reverse(f"admin:tracker_{model._meta.model_name}_{kind}", args=arguments)


def test_every_model_is_in_the_admin() -> None:
    assert set(MODELS) <= set(admin.site._registry)


@pytest.mark.parametrize("model", MODELS)
def test_pages_show_hostile_rows_escaped(repository: RepositoryView, browser: Client, model: Any) -> None:
    fill(repository, 2)
    for kind in ("changelist", "change"):
        response = browser.get(page(model, kind))
        assert response.status_code == 200
        assert HOSTILE not in response.content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_lists_take_a_constant_number_of_queries(repository: RepositoryView, browser: Client, model: Any) -> None:
    counts = []
    for _ in range(2):
        fill(repository, 5)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            browser.get(page(model, "changelist"))
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes_a_row(repository: RepositoryView, browser: Client, model: Any) -> None:
    fill(repository, 1)
    assert browser.get(reverse(f"admin:tracker_{model._meta.model_name}_add")).status_code == 403
    assert browser.post(page(model, "change"), {}).status_code == 403
    assert browser.post(page(model, "delete"), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", MODELS)
def test_searching_and_filtering_work(repository: RepositoryView, browser: Client, model: Any) -> None:
    fill(repository, 1)
    assert browser.get(page(model, "changelist"), {"q": "agent:hold"}).status_code == 200


def test_links_between_rows_lead_somewhere(repository: RepositoryView, browser: Client) -> None:
    fill(repository, 3)
    children = browser.get(
        page(models.Issue, "changelist"), {"parent__id__exact": models.Issue.objects.earliest("pk").pk}
    )
    assert children.status_code == 200
    assert children.context["cl"].result_count == 3
    failed = browser.get(page(models.Operation, "changelist"), {"state__exact": "failed"})
    assert failed.context["cl"].result_count == 3
