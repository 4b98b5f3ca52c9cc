"""Conversations in the admin: an operator speaks, joins, leaves and closes, each act asked about first and audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse

from coordinator.models import AuditEntry, Post, Thread, ThreadMember
from coordinator.public_types import ThreadKind
from coordinator.teamwork import threads
from tests.factories import make_agent, make_git_repository
from tests.integration.admin_pages import HOSTILE, checked, form_with

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:coordinator_thread_changelist"


@pytest.fixture
def browser(client: Client, django_user_model: Any, settings: Any, state_dir: Path) -> Client:
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder
    client.force_login(django_user_model.objects.create_superuser("admin"))
    return client


def test_an_operator_speaks_joins_leaves_and_closes_and_each_act_is_audited(browser: Client, tmp_path: Path) -> None:
    agent = make_agent(make_git_repository(tmp_path / "app"), title=HOSTILE)
    thread = threads.open_thread(kind=ThreadKind.CHAT, subject=HOSTILE, members=[agent], opened_by="cli:ann")
    answers = {
        "post": {"text": f"which format? {HOSTILE}", "kind": "question"},
        "leave": {},
        "join": {},
        "close": {"reason": f"settled {HOSTILE}"},
    }
    for name, said in answers.items():
        asked = {"action": name, ACTION_CHECKBOX_NAME: [str(thread.pk)]}
        hidden = form_with(checked(browser.post(reverse(LIST), asked)), 'name="confirmed"')
        assert not AuditEntry.objects.filter(action=f"thread_{name}").exists(), "it is asked about first"
        assert browser.post(reverse(LIST), {**hidden, **asked, **said, "confirmed": "yes"}).status_code == 302
        entry = AuditEntry.objects.get(action=f"thread_{name}")
        assert (entry.actor, entry.target) == ("admin:admin", f"thread:{thread.pk}")
    thread.refresh_from_db()
    assert (thread.state, thread.closed_by) == (Thread.State.CLOSED, "admin:admin") and "\x1b" not in thread.reason
    assert Post.objects.get().deliveries.get().state == "seen", "a question starts who does not run"
    assert ThreadMember.objects.get(person="admin:admin").left_at is None
    assert "which format?" in checked(browser.get(reverse("admin:coordinator_thread_change", args=[thread.pk])))
