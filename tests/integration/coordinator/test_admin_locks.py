"""Locks in the admin: shown whatever their words, released by the same function as the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse

from coordinator.models import AuditEntry
from grid.models import FileLock
from tests.factories import make_agent, make_git_repository
from tests.integration.admin_pages import HOSTILE, checked, form_with
from tests.integration.coordinator.agent_runs import running
from tests.services.runs_of_locks import take

pytestmark = pytest.mark.django_db
LIST = "admin:grid_filelock_changelist"


@pytest.fixture
def browser(client: Client, django_user_model: Any, settings: Any, state_dir: Path) -> Client:
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder
    client.force_login(django_user_model.objects.create_superuser("admin"))
    return client


def test_locks_are_shown_and_released_with_an_audit(browser: Client, tmp_path: Path) -> None:
    from grid.models import Execution

    run = running(make_agent(make_git_repository(tmp_path / "app"), title=HOSTILE))
    take(Execution.objects.get(pk=run.execution_id), "src/<img src=x onerror=alert(1)>.py", reason=HOSTILE)
    lock = FileLock.objects.get()
    page = reverse("admin:grid_filelock_change", args=[lock.pk])

    assert "held" in checked(browser.get(reverse(LIST)))
    assert "Release" in checked(browser.get(page))

    asked = {"action": "release", ACTION_CHECKBOX_NAME: [str(lock.pk)]}
    confirmation = checked(browser.post(reverse(LIST), asked))
    lock.refresh_from_db()
    assert lock.state == "held", "it is asked about first"
    hidden = form_with(confirmation, 'name="reason"')
    done = browser.post(reverse(LIST), {**hidden, **asked, "confirmed": "yes", "reason": "it hangs"})
    assert done.status_code == 302, done.content.decode()[:2000]

    lock.refresh_from_db()
    assert (lock.state, lock.end_reason) == ("broken", "it hangs")
    entry = AuditEntry.objects.get(action="release_lock")
    assert (entry.actor, entry.target) == ("admin:admin", f"lock:{lock.pk}")
