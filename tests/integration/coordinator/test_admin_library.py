"""The admin of profiles, prompts and upgrades: a form adds the next version, acts freeze and answer, nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from coordinator.care import prompt_library
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Definition, Prompt, UpgradeRequest
from coordinator.public_types import Source
from coordinator.teamwork import upgrades
from tests.factories import make_agent, make_child
from tests.integration.admin_pages import HOSTILE, checked

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(db: None, client: Client, django_user_model: Any, settings: Any, state_dir: Path) -> Client:
    """Logged in as the superuser `admin`."""
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder
    client.force_login(django_user_model.objects.create_superuser("admin"))
    return client


def url(model: type[Model], kind: str, *args: Any) -> str:
    return reverse(f"admin:coordinator_{model._meta.model_name}_{kind}", args=args)


def confirm(browser: Client, name: str, row: Model, **answers: str) -> Any:
    browser.cookies.pop("messages", None)
    data = {"action": name, "_selected_action": [row.pk], **answers}
    page = checked(browser.post(url(type(row), "changelist"), data))
    assert 'name="confirmed"' in page
    response = browser.post(url(type(row), "changelist"), {**data, "confirmed": "yes"})
    return "\n".join(f"{message.level_tag}: {message}" for message in get_messages(response.wsgi_request))


def test_the_form_saves_the_next_version_of_a_definition(browser: Client) -> None:
    form = {"kind": "profile", "name": "house", "body": "extends: worker\r\nmodel: ollama:qwen3\r\n", "note": "ours"}
    checked(browser.get(url(Definition, "add")))
    assert browser.post(url(Definition, "add"), {**form, "base_version": "0"}).status_code == 302
    row = Definition.objects.get()
    assert (row.version, row.created_by, row.body) == (1, "admin:admin", "extends: worker\nmodel: ollama:qwen3\n")
    filled = checked(browser.get(url(Definition, "add"), {"from": row.pk}))
    assert "model: ollama:qwen3" in filled and 'value="1"' in filled
    again = checked(browser.post(url(Definition, "add"), {**form, "base_version": "0"}))
    assert "version 1 is current, not none" in again
    assert browser.post(url(Definition, "add"), {**form, "base_version": "1"}).status_code == 302
    assert Definition.objects.filter(is_current=True).get().version == 2
    page = checked(browser.get(url(Definition, "change", row.pk)))
    assert f"add/?from={row.pk}" in page
    assert browser.get(url(Definition, "changelist"), {"name__exact": "house"}).context["cl"].result_count == 2
    assert [entry.actor for entry in AuditEntry.objects.all()] == ["admin:admin"] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"body": "extends: nobody"}, "there is no profile &#x27;nobody&#x27;"),
        ({"body": HOSTILE}, "errorlist"),
        ({"name": HOSTILE[:50]}, "errorlist"),
        ({"kind": "other"}, "errorlist"),
        ({"base_version": "-1"}, "errorlist"),
        ({"body": ""}, "errorlist"),
    ],
)
def test_what_the_domain_refuses_is_said_in_the_form(browser: Client, change: dict[str, str], said: str) -> None:
    form = {"kind": "profile", "name": "house", "body": "extends: worker", "note": "", "base_version": ""}
    html = browser.post(url(Definition, "add"), {**form, **change})
    assert html.status_code == 200
    assert said in html.content.decode() and "<img src=x" not in html.content.decode()
    assert not Definition.objects.exists()


def test_prompts_are_added_frozen_and_never_changed(browser: Client) -> None:
    form = {"name": "review", "description": "for reviews", "body": "Look at {{ key }}.", "base_version": ""}
    assert browser.post(url(Prompt, "add"), form).status_code == 302
    row = Prompt.objects.get()
    assert (row.author, row.scope, row.version) == ("admin:admin", "", 1)
    assert "calls are not allowed" in checked(browser.post(url(Prompt, "add"), {**form, "body": "{{ open(1) }}"}))
    assert confirm(browser, "freeze", row).startswith("success: Freeze: prompt review version 1: review version 1")
    assert Prompt.objects.get().is_frozen
    with pytest.raises(Exception, match="frozen"):
        prompt_library.save_as_agent(agent_id=1, tree_id=1, execution_id=None, name="review", body="x")
    assert "success" in confirm(browser, "unfreeze", row)
    assert not Prompt.objects.get().is_frozen
    assert browser.post(url(Prompt, "change", row.pk), {**form, "body": "x"}).status_code == 403
    assert Prompt.objects.get().body == "Look at {{ key }}."


def test_requests_are_granted_and_refused_once(browser: Client, tmp_path: Path, repository: Path) -> None:
    root = make_agent(repository)
    dispatch.nudge(root.pk, source=Source.OPERATOR)
    children = [make_child(Agent.objects.get(pk=root.pk)) for _ in range(2)]
    for child in children:
        Agent.objects.filter(pk=child.pk).update(profile="micro")
        dispatch.nudge(child.pk, source=Source.OPERATOR)
        upgrades.request(child.pk, wish={"tier": 3}, reason=HOSTILE)
    first, second = UpgradeRequest.objects.order_by("pk")
    assert "granted: tier large" in confirm(browser, "grant", first, words="go on")
    assert "success" in confirm(browser, "refuse", second, words="no")
    assert "was granted by admin:admin already" in confirm(browser, "refuse", first)
    states = UpgradeRequest.objects.order_by("pk").values_list("state", "answered_by", "answer")
    assert list(states) == [("granted", "admin:admin", "go on"), ("refused", "admin:admin", "no")]
    assert [Agent.objects.get(pk=child.pk).capability["tier"] for child in children] == [3, 1]


def test_staff_who_may_only_look_add_and_answer_nothing(
    client: Client, django_user_model: Any, settings: Any, state_dir: Path
) -> None:
    settings.STATIC_ROOT = str(state_dir)
    user = django_user_model.objects.create_user("ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_definition", "view_prompt"]))
    client.force_login(user)
    row = prompt_library.save(name="review", body="x", author="cli:me")
    form = {"kind": "profile", "name": "house", "body": "extends: worker", "note": "", "base_version": ""}
    assert client.get(url(Definition, "changelist")).status_code == 200
    assert client.post(url(Definition, "add"), form).status_code == 403
    assert client.post(url(Prompt, "add"), {"name": "x", "body": "x"}).status_code == 403
    prompt = Prompt.objects.get(name=row.name)
    data = {"action": "freeze", "_selected_action": [prompt.pk], "confirmed": "yes"}
    assert client.post(url(Prompt, "changelist"), data).status_code == 403
    assert not Definition.objects.exists() and not Prompt.objects.get().is_frozen
