"""The coordinator's admin: every page shows hostile rows harmlessly, in a constant number of queries, read-only."""

from __future__ import annotations

import itertools
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

from coordinator import models
from coordinator.documents.policy_file import dump_policy, parse_policy
from coordinator.models import (
    Agent,
    AppliedPlan,
    AuditEntry,
    Command,
    Conflict,
    Definition,
    Envelope,
    Feedback,
    GatewayProcess,
    LedgerEntry,
    Message,
    ModelCall,
    Nudge,
    Post,
    Prompt,
    RepositoryPolicy,
    SpendEntry,
    SweepSlot,
    Thread,
    ThreadMember,
    UpgradeRequest,
)
from grid import public_events as grid_events
from grid.models import Execution
from grid.specs import dump_spec
from tests.factories import launch_spec, make_agent, make_child, make_git_repository
from tests.integration.admin_pages import HOSTILE, HOSTILE_MARKUP, checked, links
from tracker.models import Issue, Repository

MODELS = [getattr(models, name) for name in models.__all__]
DECISION = {"answer": "deferred", "code": "x", "reason": HOSTILE, "until": "2026-01-01T00:00:00+00:00", "mode": ""}
POLICY = b"acceptance: ['echo <img src=x onerror=alert(1)>']"
_numbers = itertools.count(1)


@pytest.fixture
def browser(db: None, client: Client, django_user_model: Any, settings: Any, state_dir: Path) -> Client:
    """Logged in as the superuser `admin`."""
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder
    client.force_login(django_user_model.objects.create_superuser("admin"))
    return client


def fill(count: int) -> None:
    """One more tree of `count` agents, and rows of every table, their texts hostile."""
    now, tree, spec = timezone.now(), next(_numbers), dump_spec(launch_spec(prompt=HOSTILE))
    fleet, _ = Envelope.objects.get_or_create(key="fleet", defaults={"kind": "fleet"})
    repositories = Repository.objects.bulk_create(
        Repository(tracker="local", scope=f"{HOSTILE_MARKUP}/{tree}.{n}", source="/nowhere", default_branch="main")
        for n in range(count)
    )
    RepositoryPolicy.objects.bulk_create(
        RepositoryPolicy(repository=row, error=HOSTILE, policy=dump_policy(parse_policy(POLICY)))
        for row in repositories
    )
    home = Repository.objects.earliest("pk")  # filters by repository list them all, which a test of lists must not hide
    top = Envelope.objects.create(
        key=f"repository:{tree}", kind="repository", parent=fleet, ancestors=fleet.lineage, paused_at=now
    )
    middle = Envelope.objects.create(
        key=f"tree:{tree}",
        kind="tree",
        parent=top,
        ancestors=top.lineage,
        paused_by=HOSTILE_MARKUP,
        warned_at=now,
        warning=HOSTILE,
        progress_limit_micros=1,
        breaker_opened_at=now,
    )
    GatewayProcess.objects.create(host=HOSTILE_MARKUP, pid=tree)
    envelopes = Envelope.objects.bulk_create(
        Envelope(
            key=f"agent:{tree}.{n}",
            kind="agent",
            parent=middle,
            ancestors=middle.lineage,
            paused_at=now,
            paused_by=HOSTILE,
        )
        for n in range(count)
    )
    issues = Issue.objects.bulk_create(
        Issue(
            repository=home, key=f"{tree}.{n}", title=HOSTILE, body=HOSTILE, author="x", created_at=now, updated_at=now
        )
        for n in range(count)
    )
    runs = Execution.objects.bulk_create(
        Execution(
            subject=f"issue:{issue.pk}",
            root="tree:1",
            mode="work",
            state="failed",
            spec=spec,
            agent="command",
            repository="r1",
            branch="b",
            host="h1",
            reason=HOSTILE,
            result={"outcome": None, "checks": [], "reason": HOSTILE},
        )
        for issue in issues
    )
    agents: list[Agent] = []
    for envelope, issue, run in zip(envelopes, issues, runs, strict=True):
        above = agents[0] if agents else None
        row = Agent(issue=issue, repository=home, envelope=envelope, execution=run, parent=above, root=above)
        row.path, row.branch, row.state = f"{tree}.{issue.pk}", "agent/1-x", "blocked" if len(agents) % 2 else "waiting"
        row.blocked_reason = row.summary = HOSTILE
        row.decision, row.conflict, row.spec = DECISION, {"paths": [HOSTILE]}, {"options": {"command": HOSTILE}}
        if above is None:
            row.save()
        agents.append(row)
    Agent.objects.bulk_create(agents[1:])
    Nudge.objects.bulk_create(
        Nudge(agent=row, source="operator", reason=HOSTILE, answer="deferred", decision=DECISION, execution_id=uuid4())
        for row in agents
    )
    Feedback.objects.bulk_create(
        Feedback(agent=row, tracker_id=HOSTILE, kind="review", author=HOSTILE, text=HOSTILE, path=HOSTILE, line=3)
        for row in agents
    )
    Command.objects.bulk_create(
        Command(
            repository_id=row.repository_id,
            comment_id=f"{HOSTILE_MARKUP[:20]}{row.pk}",
            issue_key="1",
            author=HOSTILE[:100],
            verbs=HOSTILE_MARKUP[:200],
            answer=HOSTILE,
        )
        for row in agents
    )
    LedgerEntry.objects.bulk_create(
        LedgerEntry(envelope=row, execution_id=uuid4(), kind="reserve", executions=1, wall_seconds=9)
        for row in envelopes
    )
    AuditEntry.objects.bulk_create(
        AuditEntry(actor=HOSTILE, action="nudge", target=row.stream, detail={"x": HOSTILE}) for row in agents
    )
    calls = ModelCall.objects.bulk_create(
        ModelCall(
            agent=row,
            execution_id=uuid4(),
            provider="anthropic",
            model=HOSTILE_MARKUP[:190],
            state="refused",
            reason=HOSTILE[:300],
        )
        for row in agents
    )
    SpendEntry.objects.bulk_create(
        SpendEntry(envelope=row, call_id=call.pk, kind="reserve", usd_micros=1, tokens=1)
        for row, call in zip(envelopes, calls, strict=True)
    )
    Definition.objects.bulk_create(
        Definition(
            kind="profile", name=f"p{tree}-{n}", version=1, body=HOSTILE, note=HOSTILE, created_by=HOSTILE_MARKUP
        )
        for n in range(count)
    )
    Prompt.objects.bulk_create(
        Prompt(
            name=HOSTILE_MARKUP[:40] + f"{row.pk}",
            scope=f"tree:{row.pk}",
            version=1,
            body=HOSTILE,
            description=HOSTILE,
            author=HOSTILE,
            execution_id=row.execution_id,
        )
        for row in agents
    )
    talks = Thread.objects.bulk_create(
        Thread(kind="chat", subject=HOSTILE_MARKUP, root=agents[0], opened_by=HOSTILE_MARKUP, data={"x": HOSTILE})
        for _ in agents
    )
    ThreadMember.objects.bulk_create(
        ThreadMember(thread=talk, agent=row) for talk, row in zip(talks, agents, strict=True)
    )
    ThreadMember.objects.bulk_create(ThreadMember(thread=talk, person=HOSTILE_MARKUP) for talk in talks)
    said = Post.objects.bulk_create(
        Post(thread=talk, sender=HOSTILE_MARKUP[:150], kind="blocked", text=HOSTILE, data={"on": HOSTILE})
        for talk in talks
    )
    Message.objects.bulk_create(
        Message(agent=row, post=words, execution_id=uuid4(), reason=HOSTILE[:300])
        for row, words in zip(agents, said, strict=True)
    )
    UpgradeRequest.objects.bulk_create(
        UpgradeRequest(agent=row, wish={"tier": HOSTILE}, reason=HOSTILE, answer=HOSTILE, answered_by=HOSTILE)
        for row in agents
    )
    Conflict.objects.bulk_create(
        Conflict(
            kind="lock",
            repository="r1",
            patterns=[HOSTILE, HOSTILE_MARKUP],
            requester=row,
            holder=agents[0],
            arbiter=row,
            waiter=row,
            pair=f"{row.pk}:0",
            thread_id=1,
            facts={"reason": HOSTILE, "holder": {"patch": HOSTILE}},
            detail={"x": HOSTILE},
            state="decided",
            choice="sequence",
            order=[row.pk, agents[0].pk],
            decided_by=HOSTILE_MARKUP,
            words=HOSTILE,
            reason=HOSTILE,
            default_at=timezone.now(),
        )
        for row in agents
    )
    AppliedPlan.objects.bulk_create(
        AppliedPlan(
            agent=row,
            tree=agents[0],
            revision=row.pk,
            actor=HOSTILE_MARKUP[:150],
            base=f"0-{row.pk}",
            digest="x",
            changes=[{"kind": HOSTILE_MARKUP, "id": "a1", "goal": HOSTILE}],
            todo={"new": [{"name": HOSTILE}]},
            error=HOSTILE[:1000],
        )
        for row in agents
    )
    SweepSlot.objects.bulk_create(SweepSlot(name=f"{HOSTILE_MARKUP[:30]} {tree}.{n}") for n in range(count))
    for row in agents[:2]:
        grid_events.append_events(
            stream=row.stream, root=row.root_key, events=[("agent.wish-not-met", {"why": HOSTILE})]
        )


def page(model: Any, kind: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{kind}", args=args)


def test_every_model_is_in_the_admin() -> None:
    assert set(MODELS) <= set(admin.site._registry)


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS)
def test_pages_show_hostile_rows_harmlessly(browser: Client, model: Any) -> None:
    fill(2)
    # Names made of what rows say: markup alone can reach the heading.
    AuditEntry.objects.update(actor=HOSTILE_MARKUP)
    Feedback.objects.update(author=HOSTILE_MARKUP)
    Command.objects.update(author=HOSTILE_MARKUP)
    checked(browser.get(page(model, "changelist")))
    for row in model.objects.all()[:4]:
        checked(browser.get(page(model, "change", admin.utils.quote(row.pk))))


@pytest.mark.django_db
def test_lists_and_the_start_page_take_a_constant_number_of_queries(browser: Client) -> None:
    def counts() -> dict[str, int]:
        found = {}
        for url in ["/admin/", *(page(model, "changelist") for model in MODELS)]:
            with CaptureQueriesContext(connection) as queries:
                checked(browser.get(url))
            found[url] = len(queries)
        return found

    fill(10)
    few = counts()
    fill(150)  # more than a page holds
    assert counts() == few
    assert few.pop("/admin/") <= 25
    assert max(few.values()) <= 12, few


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes_a_row(browser: Client, model: Any) -> None:
    fill(1)
    row = model.objects.first()
    url = page(model, "change", quote(row.pk))
    # A new version is no change of an old one; test_admin_library.py looks at what the form stores.
    assert browser.get(page(model, "add")).status_code == (200 if model in (Definition, Prompt) else 403)
    assert browser.post(url, {"state": "queued", "paused_at": ""}).status_code == 403
    assert browser.post(url.replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


@pytest.mark.django_db
def test_rows_are_linked(browser: Client, tmp_path: Path) -> None:
    agent = make_agent(make_git_repository(tmp_path / "app"))
    child = make_child(agent)
    assert browser.post("/admin/coordinator/agent/", act("nudge", agent)).status_code == 302
    agent.refresh_from_db()
    assert agent.execution is not None
    found = links(checked(browser.get(page(Agent, "change", agent.pk))))
    nudge = agent.nudges.get()
    for target in (
        reverse("admin:tracker_issue_change", args=[agent.issue_id]),
        reverse("admin:grid_execution_change", args=[agent.execution_id]),
        page(Agent, "change", child.pk),
        page(Nudge, "change", nudge.pk),
        page(Envelope, "change", agent.envelope_id),
        page(AuditEntry, "change", AuditEntry.objects.get().pk),
        f"{reverse('admin:grid_event_changelist')}?q=agent%3A{agent.pk}",
    ):
        assert target in found, target
    assert [url for url in ours(found) if browser.get(url).status_code != 200] == []
    run = links(checked(browser.get(reverse("admin:grid_execution_change", args=[agent.execution_id]))))
    assert [url for url in ours(run) if browser.get(url).status_code != 200] == []
    (itself,) = [url for url in set(run) if url.endswith(f"agent/?q=issue%3A{agent.issue_id}")]
    assert [row.pk for row in browser.get(itself).context["cl"].result_list] == [agent.pk]


def ours(found: list[str]) -> set[str]:
    return {url for url in found if url.startswith(("/admin/coordinator/", "/admin/grid/", "/admin/tracker/"))}


def act(name: str, agent: Agent) -> dict[str, Any]:
    return {"action": name, "_selected_action": agent.pk, "confirmed": "yes"}


@pytest.mark.django_db
def test_agents_are_found_by_group_scope_and_keys(browser: Client) -> None:
    fill(4)
    fill(2)
    root = Agent.objects.earliest("pk")

    def found(**query: str) -> int:
        response = browser.get(page(Agent, "changelist"), query)
        assert response.status_code == 200
        return int(response.context["cl"].result_count)

    assert (found(group="live"), found(group="attention"), found(group="ended")) == (3, 3, 0)
    assert (found(q=f"tree:{root.pk}"), found(q=f"agent:{root.pk}"), found(q=f"issue:{root.issue_id}")) == (4, 1, 1)
    assert (found(place="root"), found(place="part")) == (2, 4)
    assert root.envelope.parent is not None
    assert found(scope=root.envelope.parent.key) == 4
    assert found(scope="fleet") == 6
    assert found(scope=HOSTILE) == found(q="tree:9999999999999999999") == found(q="'%\"") == 0


@pytest.mark.django_db
def test_an_agents_page_says_why_it_does_not_run(browser: Client, tmp_path: Path) -> None:
    agent = make_agent(make_git_repository(tmp_path / "app"))
    html = checked(browser.get(page(Agent, "change", agent.pk)))
    assert "never asked" in html
    browser.post("/admin/coordinator/agent/", act("pause_tree", agent))
    browser.post("/admin/coordinator/agent/", act("nudge", agent))
    html = checked(browser.get(page(Agent, "change", agent.pk)))
    assert html.count("paused") >= 4
    assert "never asked" not in html
    assert "admin:admin" in html  # the audit


@pytest.mark.django_db
def test_the_start_page_says_what_needs_a_person(browser: Client) -> None:
    html = checked(browser.get("/admin/"))
    for said in ("Nothing waits for a person", "No work yet", "No host has reported", "Nothing yet."):
        assert said in html
    fill(4)
    html = checked(browser.get("/admin/"))
    assert "Nothing waits for a person" not in html
    assert "2 agents wait" in html
    assert "{{7*7}}" in html
    assert [url for url in ours(links(html)) if browser.get(url).status_code != 200] == []


@pytest.mark.django_db
def test_the_start_page_shows_nothing_to_staff_who_may_not_see_agents(
    client: Client, django_user_model: Any, settings: Any, state_dir: Path
) -> None:
    settings.STATIC_ROOT = str(state_dir)
    fill(2)
    client.force_login(django_user_model.objects.create_user("ann", is_staff=True))
    html = checked(client.get("/admin/"))
    assert "What needs me" not in html
    assert "7*7" not in html
