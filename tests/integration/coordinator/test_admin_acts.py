"""Acts in the admin: confirmed first, carried out by the public functions, audited, refused to those who may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agentgrid import celery_app
from coordinator import admin as pages
from coordinator import public_api
from coordinator.models import Agent, AuditEntry, Envelope, Nudge, RepositoryPolicy
from coordinator.public_types import AgentState
from grid.models import Execution
from grid.public_types import State
from tests.factories import git, make_agent, make_child, make_git_repository
from tests.integration.admin_pages import HOSTILE, checked, form_with
from tracker import public_writes as tracker_writes
from tracker.models import Operation
from tracker.public_types import Write, WriteKind

ACTS: list[tuple[type[Model], str]] = [(Agent, act.name) for act in pages.agents.AgentAdmin.acts]
ACTS += [(Envelope, act.name) for act in pages.envelopes.EnvelopeAdmin.acts]
ACTS += [(RepositoryPolicy, act.name) for act in pages.records.RepositoryPolicyAdmin.acts]
ANSWERS = {"raise_limit": {"executions": "7"}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_git_repository(tmp_path / "app")


@pytest.fixture
def agent(db: None, source: Path) -> Agent:
    return make_agent(source, title=f"{HOSTILE} root")


@pytest.fixture
def browser(db: None, client: Client, django_user_model: Any, settings: Any, state_dir: Path) -> Client:
    """Logged in as the superuser `admin`."""
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder
    client.force_login(django_user_model.objects.create_superuser("admin"))
    return client


@pytest.fixture
def staff(client: Client, django_user_model: Any, settings: Any, state_dir: Path) -> Callable[..., Client]:
    """Logs in staff who hold the given permissions only."""
    settings.STATIC_ROOT = str(state_dir)

    def login(*codenames: str) -> Client:
        user = django_user_model.objects.create_user("ann", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return login


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:coordinator_{model._meta.model_name}_changelist")


def page_url(row: Model) -> str:
    return reverse(f"admin:coordinator_{row._meta.model_name}_change", args=[row.pk])


def ask(browser: Client, name: str, *rows: Model, **more: str) -> Any:
    """Choose an act, as the list and the buttons do."""
    data = {"action": name, "_selected_action": [row.pk for row in rows], "index": "0", "select_across": "0", **more}
    return browser.post(list_url(type(rows[0])), data)


def confirm(browser: Client, name: str, *rows: Model, **answers: str) -> Any:
    """Send the confirmation page back; messages of earlier acts have been read."""
    browser.cookies.pop("messages", None)
    data = {"action": name, "_selected_action": [row.pk for row in rows], "confirmed": "yes", **answers}
    return browser.post(list_url(type(rows[0])), data)


def said(response: Any) -> str:
    return "\n".join(f"{message.level_tag}: {message}" for message in get_messages(response.wsgi_request))


def state(agent: Agent) -> str:
    return Agent.objects.get(pk=agent.pk).state


def run_of(agent: Agent) -> Execution:
    run = Agent.objects.get(pk=agent.pk).execution
    assert run is not None
    return run


def row_for(model: type[Model], agent: Agent) -> Model:
    rows: dict[type[Model], Model | None] = {
        Agent: agent,
        Envelope: agent.envelope.parent,
        RepositoryPolicy: RepositoryPolicy.objects.get(repository=agent.repository_id),
    }
    row = rows[model]
    assert row is not None
    return row


def audits() -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "action", "target"))


# --- before anything happens -----------------------------------------------------------------------------------


def test_choosing_an_act_only_asks_for_a_confirmation(browser, agent):
    for model, name in ACTS:
        html = checked(ask(browser, name, row_for(model, agent)))
        assert 'name="confirmed"' in html
        assert "csrfmiddlewaretoken" in html
    assert audits() == []
    assert (state(agent), Nudge.objects.count(), Envelope.objects.exclude(paused_at=None).count()) == ("new", 0, 0)


def test_get_does_nothing(browser, agent):
    for model, name in ACTS:
        row = row_for(model, agent)
        query = {"action": name, "_selected_action": row.pk, "confirmed": "yes", "index": "0"}
        browser.get(list_url(model), query, follow=True)
        browser.get(page_url(row), query)
    assert audits() == []


def test_the_confirmation_says_what_is_touched(browser, agent):
    child, other = make_child(agent), make_child(agent)
    for part in (child, other):
        confirm(browser, "nudge", part)
    running = Execution.objects.filter(pk=run_of(child).pk)
    lease = timezone.now() + timedelta(seconds=60)
    running.update(state=State.RUNNING, host="host-7", phase="agent", lease_until=lease)
    html = " ".join(checked(ask(browser, "cancel", agent)).split())
    assert "<strong>1</strong> agent chosen" in html
    assert "<strong>3</strong> agents, <strong>1</strong> running process and <strong>1</strong> queued" in html
    for fact in ("host-7", str(run_of(child).pk)[:8], "{{7*7}}"):
        assert fact in html
    html = " ".join(checked(ask(browser, "pause_agent", child, other)).split())
    assert "<strong>2</strong> agents chosen" in html
    assert "<strong>2</strong> agents, <strong>1</strong> running process and <strong>1</strong> queued" in html
    fleet = Envelope.objects.get(key="fleet")
    html = " ".join(checked(ask(browser, "pause", fleet)).split())
    assert "<strong>3</strong> agents, <strong>1</strong> running process" in html


def test_every_act_has_a_button_on_the_rows_page(browser, agent):
    for model in (Agent, Envelope, RepositoryPolicy):
        html = checked(browser.get(page_url(row_for(model, agent))))
        for other, name in ACTS:
            assert (f'value="{name}"' in html) == ((model, name) in ACTS), (other, name)


# --- carried out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "name"), ACTS)
def test_each_act_leaves_an_audit_row_with_the_operators_name(browser, agent, model, name):
    if name == "retry":
        Agent.objects.filter(pk=agent.pk).update(state=AgentState.FAILED, attempts=3)
    response = confirm(browser, name, row_for(model, agent), **ANSWERS.get(name, {"reason": "because"}))
    assert response.status_code == 302
    assert said(response).startswith("success:")
    rows = audits()
    assert {actor for actor, _, _ in rows} == {"admin:admin"}
    if (model, name) == (Envelope, "cancel"):  # one for the scope on top of one for each agent
        assert sorted(action for _, action, _ in rows) == ["cancel", "cancel_scope"]
    else:
        ((_, action, _),) = rows
        assert name.startswith(action)


def test_nudge_starts_the_agent_and_keeps_the_word(browser, agent):
    response = confirm(browser, "nudge", agent, reason="please look")
    assert "admitted" in said(response)
    assert (state(agent), run_of(agent).state) == (AgentState.QUEUED, State.QUEUED)
    assert agent.nudges.get().reason == "please look"


def test_cancel_ends_the_subtree_and_retry_takes_it_up_again(browser, agent):
    child = make_child(agent)
    confirm(browser, "nudge", child)
    assert "success" in said(confirm(browser, "cancel", agent, reason="wrong way"))
    assert (state(agent), state(child), run_of(child).state) == ("abandoned", "abandoned", State.CANCELLED)
    assert AuditEntry.objects.get(action="cancel").detail["reason"] == "wrong way"
    assert "success" in said(confirm(browser, "retry", child))
    assert state(child) == AgentState.QUEUED


def test_pause_and_unpause_reach_agent_tree_repository_and_fleet(browser, agent):
    child = make_child(agent)
    confirm(browser, "nudge", child)
    fleet, policy = Envelope.objects.get(key="fleet"), row_for(RepositoryPolicy, agent)
    for row, what in ((agent, "_tree"), (child, "_agent"), (fleet, ""), (policy, "")):
        assert "1 queued run held" in said(confirm(browser, f"pause{what}", row))
        assert run_of(child).is_held
        assert "1 queued run may go on" in said(confirm(browser, f"unpause{what}", row))
        assert not run_of(child).is_held
    kinds = ("tree", "agent", "fleet", "repository")
    assert [target.partition(":")[0] for *_, target in audits()[1:]] == [kind for kind in kinds for _ in "ab"]


@pytest.mark.parametrize("kind", ["fleet", "repository", "tree", "agent"])
def test_cancel_of_a_scope_ends_what_is_under_way_in_it(browser, agent, kind):
    child = make_child(agent)
    confirm(browser, "nudge", child)
    scope = {"fleet": "fleet", "repository": f"repository:{agent.repository_id}", "tree": f"tree:{agent.pk}"}
    row = Envelope.objects.get(key=scope.get(kind, f"agent:{agent.pk}"))
    assert "success" in said(confirm(browser, "cancel", row, reason="wrong week"))
    ended = set(Agent.objects.filter(state="abandoned").values_list("pk", flat=True))
    assert ended == {agent.pk, child.pk}
    assert AuditEntry.objects.filter(action="cancel_scope", actor="admin:admin").count() == 1
    assert "nothing in it is under way" in said(confirm(browser, "cancel", row))


def test_raise_limit_asks_for_figures_that_fit(browser, agent):
    tree = row_for(Envelope, agent)
    for answers in ({}, {"executions": "0"}, {"executions": "x"}, {"wall_seconds": str(10**12)}, {"executions": "-1"}):
        html = checked(confirm(browser, "raise_limit", tree, **answers))
        assert "errorlist" in html
    assert audits() == []
    assert "success" in said(confirm(browser, "raise_limit", tree, executions="777", wall_seconds="5000"))
    after = Envelope.objects.get(pk=tree.pk)
    assert (after.executions_limit, after.wall_limit_seconds) == (777, 5000)


def test_refresh_fetches_and_tells_what_is_wrong_with_the_policy(browser, agent, source):
    policy = RepositoryPolicy.objects.get(repository=agent.repository_id)
    (source / ".agentgrid.yml").write_text("acceptance: {")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "Break it")
    response = confirm(browser, "refresh", policy)
    assert said(response).startswith("error:")
    policy.refresh_from_db()
    assert policy.error
    assert policy.head == git(source, "rev-parse", "HEAD")
    assert AuditEntry.objects.get().detail["head"] == policy.head


def test_the_domains_refusals_are_messages(browser, agent):
    confirm(browser, "nudge", agent)
    response = confirm(browser, "retry", agent)
    assert response.status_code == 302
    assert said(response).startswith("error:")
    assert "already" in said(response)


def test_an_act_twice_has_one_effect(browser, agent):
    confirm(browser, "nudge", agent)
    confirm(browser, "nudge", agent)
    assert Execution.objects.count() == 1
    confirm(browser, "cancel", agent)
    again = confirm(browser, "cancel", agent)
    assert said(again).count("error: Cancel") == 1
    assert "ended already" in said(again)
    assert [action for _, action, _ in audits()].count("cancel") == 1
    tree = row_for(Envelope, agent)
    for _ in range(2):
        confirm(browser, "pause", tree)
    first = Envelope.objects.get(pk=tree.pk)
    assert (first.paused_by, first.paused_at is None) == ("admin:admin", False)


def test_some_of_the_rows_may_fail(browser, agent):
    parts = [make_child(agent) for _ in range(7)]
    Agent.objects.filter(pk__in=[part.pk for part in parts]).update(state=AgentState.DONE)
    text = said(confirm(browser, "retry", agent, *parts))
    assert text.count("success:") == 1
    assert text.count("error:") == 6  # five of them, and how many more
    assert "2 more" in text


def test_who_has_ended_is_not_counted_among_those_a_cancel_touches(browser, agent):
    done, part = make_child(agent), make_child(agent)
    Agent.objects.filter(pk=done.pk).update(state=AgentState.DONE)
    for name in ("cancel", "pause_tree"):
        assert "touches <strong>2</strong> agents" in " ".join(checked(ask(browser, name, agent)).split())
    assert public_api.preview([agent.pk]).agents == (agent.pk, part.pk)
    assert "cancelled with 1 below it" in said(confirm(browser, "cancel", agent))
    assert "touches <strong>0</strong> agents" in " ".join(checked(ask(browser, "cancel", agent)).split())


def test_a_write_that_failed_for_ever_is_tried_again_once_and_by_those_who_may(browser, staff, agent):
    write = Write(key=f"close:{HOSTILE[:20]}", kind=WriteKind.CLOSE, payload={"ref": "999", "reason": "completed"})
    tracker_writes.wish(agent.repository_id, [write])
    tracker_writes.drain(agent.repository_id, now=timezone.now())
    row = Operation.objects.get(key=write.key)
    url, data = reverse("admin:tracker_operation_changelist"), {"action": "retry_write", "_selected_action": [row.pk]}
    checked(browser.post(url, data))
    assert Operation.objects.get(pk=row.pk).state == Operation.State.FAILED and audits() == []
    assert "will be tried again" in said(browser.post(url, {**data, "confirmed": "yes"}))
    assert Operation.objects.get(pk=row.pk).state == Operation.State.PENDING
    assert audits() == [("admin:admin", "retry_write", write.key)]
    assert "has not failed for ever" in said(browser.post(url, {**data, "confirmed": "yes"}))
    assert len(audits()) == 1
    assert staff("view_operation").post(url, {**data, "confirmed": "yes"}).status_code == 403


def test_a_button_leads_back_to_the_rows_page(browser, agent):
    assert 'name="from_page"' in checked(ask(browser, "nudge", agent, from_page="1"))
    assert confirm(browser, "nudge", agent, from_page="1").url == page_url(agent)
    assert confirm(browser, "nudge", agent).url == list_url(Agent)
    html = checked(browser.get(page_url(agent)))
    assert "admitted" in html


def test_acts_work_while_the_broker_is_down(browser, agent, broker_down, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True) as wakes:
        assert "admitted" in said(confirm(browser, "nudge", agent))
    assert wakes
    assert run_of(agent).state == State.QUEUED
    with django_capture_on_commit_callbacks(execute=True):
        assert "success" in said(confirm(browser, "cancel", agent))
    assert run_of(agent).state == State.CANCELLED


@pytest.fixture
def broker_down() -> Iterator[None]:
    """Every message of this test goes to a port where nobody listens."""
    app = Celery("down", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.update(
        broker_transport_options={"socket_connect_timeout": 0.2},
        task_publish_retry_policy={"max_retries": 0},
        broker_connection_timeout=0.2,
    )
    app.set_current()
    with pytest.raises(Exception, match="111"):
        app.signature("x").apply_async(queue="control", retry=False)
    yield
    celery_app.set_current()


# --- refused ---------------------------------------------------------------------------------------------------


def test_anonymous_visitors_are_sent_to_the_login(client, agent, settings, state_dir):
    settings.STATIC_ROOT = str(state_dir)
    response = confirm(client, "cancel", agent)
    assert response.status_code == 302
    assert response.url.startswith("/admin/login/")
    assert audits() == []


def test_staff_who_may_only_look_cannot_act(staff, agent):
    browser = staff("view_agent", "view_envelope", "view_repositorypolicy")
    for model, name in ACTS:
        row = row_for(model, agent)
        assert confirm(browser, name, row, **ANSWERS.get(name, {})).status_code == 403
        assert ask(browser, name, row).status_code == 403
        assert f'value="{name}"' not in checked(browser.get(page_url(row)))
        assert "_selected_action" not in checked(browser.get(list_url(model)))
    assert audits() == []


def test_the_permission_of_one_table_is_not_that_of_another(staff, agent):
    browser = staff("change_agent", "view_envelope")
    assert confirm(browser, "pause", row_for(Envelope, agent)).status_code == 403
    assert confirm(browser, "refresh", row_for(RepositoryPolicy, agent)).status_code == 403
    assert said(confirm(browser, "nudge", agent)).startswith("success:")
    assert audits()[0][0] == "admin:ann"


def test_staff_without_any_permission_see_nothing(staff, agent):
    browser = staff()
    assert browser.get(list_url(Agent)).status_code == 403
    assert browser.get(page_url(agent)).status_code in (302, 403)
    assert confirm(browser, "nudge", agent).status_code == 403


def test_only_the_pages_own_forms_are_accepted(django_user_model, agent, settings, state_dir):
    settings.STATIC_ROOT = str(state_dir)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(django_user_model.objects.create_superuser("root"))
    assert confirm(browser, "nudge", agent).status_code == 403
    assert audits() == []
    button = form_with(checked(browser.get(page_url(agent))), 'value="nudge"')
    asked = browser.post(list_url(Agent), {**button, "action": "nudge"})
    done = browser.post(list_url(Agent), form_with(checked(asked), 'name="confirmed"'))
    assert (done.status_code, done.headers["Location"]) == (302, page_url(agent))
    assert audits() == [("admin:root", "nudge", f"agent:{agent.pk}")]


def test_strange_rows_are_refused(browser, agent):
    for pk in ("x", "-1", "1 or 1=1", "9" * 30, ""):
        response = browser.post(list_url(Agent), {"action": "nudge", "_selected_action": pk, "confirmed": "yes"})
        assert response.status_code == 400
    assert audits() == []


def test_rows_that_are_gone_and_unknown_acts_change_nothing(browser, agent):
    data = {"action": "nudge", "_selected_action": "999999", "confirmed": "yes"}
    assert said(browser.post(list_url(Agent), data)).startswith("error:")
    assert "No action selected" in said(confirm(browser, "delete_selected", agent))
    assert audits() == []
    assert Agent.objects.filter(pk=agent.pk).exists()


def test_an_act_takes_a_bounded_number_of_rows(browser, agent, monkeypatch):
    policies = [row_for(RepositoryPolicy, agent)]
    refresh = pages.records.RepositoryPolicyAdmin.acts[0]
    assert refresh.max_rows == 5
    monkeypatch.setattr(pages.records.RepositoryPolicyAdmin, "acts", (_with_room_for(refresh, 0),))
    assert "choose at most 0" in said(confirm(browser, "refresh", *policies))
    assert audits() == []


def _with_room_for(act: Any, rows: int) -> Any:
    return replace(act, max_rows=rows)
