"""Webhooks from the wire to the row, and from the row to what they are about."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from coordinator import invariants, sweeps
from coordinator.issues import inbound
from coordinator.models import AuditEntry
from coordinator.web import waking
from coordinator.web.connections import Lender, lender
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_account import APP, account, our_installation
from tracker import public_inbound
from tracker.deliveries import ATTEMPTS_MAX, LEASE
from tracker.fake_github import FakeGithub
from tracker.fake_github.faults import Fault
from tracker.models import Delivery, Installation, Repository

SECRET, OLD, OTHER = "s3cret-of-now", "s3cret-before", "s3cret-of-somebody"
URL = "/webhooks/github/"
REMOTE_ID, INSTALLATION = 4711, 31


def payload(**changes: Any) -> dict[str, Any]:
    """An event about an issue of the repository under care."""
    return {
        "action": "opened",
        "issue": {"id": 9_000_001, "number": 12, "title": "<b>Do it</b>"},
        "repository": {"id": REMOTE_ID, "full_name": "acme/widgets"},
        "sender": {"login": "mona", "type": "User"},
        **changes,
    }


def headers(body: bytes, *, secret: str = SECRET, event: str = "issues", guid: str = "") -> dict[str, str]:
    """What GitHub sends along."""
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid or str(uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        "X-Hub-Signature": "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
    }


def post(body: bytes | dict[str, Any], *, client: Client | None = None, **given: Any) -> Any:
    """Send a delivery; `headers` replaces single headers, None takes one away."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    changes = given.pop("headers", {})
    content_type = given.pop("content_type", "application/json")
    sent = {**headers(raw, **given), **changes}
    chosen = {name: value for name, value in sent.items() if value is not None}
    return (client or Client(enforce_csrf_checks=True)).post(URL, raw, content_type=content_type, headers=chosen)


@pytest.fixture(autouse=True)
def secrets(settings: Any, tmp_path: Path) -> None:
    """Two of them, as while one is being rotated; and no complaint of a missing folder for static files."""
    settings.STATIC_ROOT = tmp_path
    settings.TRACKER_GITHUB_WEBHOOK_SECRETS = [SECRET, OLD]
    settings.TRACKER_GITHUB_OWNERS = []


@pytest.fixture
def widgets(db: None) -> Repository:
    """A repository under care."""
    return Repository.objects.create(
        tracker="github",
        scope="acme/widgets",
        source="https://127.0.0.1/none.git",
        default_branch="main",
        remote_id=REMOTE_ID,
        installation_id=INSTALLATION,
    )


def stored(event: str, body: dict[str, Any], **fields: Any) -> Delivery:
    """A delivery that came in."""
    values = {"scope": "", "received_at": timezone.now(), **fields}
    return Delivery.objects.create(guid=str(uuid4()), event=event, payload=body, **values)


# --- coming in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, OLD])
def test_a_signed_delivery_is_stored_before_it_is_accepted(widgets, secret):
    answer = post(payload(installation={"id": INSTALLATION}), secret=secret, guid="guid-1")
    assert answer.status_code == 202 and answer.json()["new"] is True
    row = Delivery.objects.get()
    assert (row.guid, row.event, row.action, row.scope, row.key) == (
        "guid-1",
        "issues",
        "opened",
        "acme/widgets",
        "12",
    )
    assert row.sender == "mona" and row.payload["issue"]["title"] == "<b>Do it</b>" and row.state == "received"


REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "no signature": (401, {"headers": {"X-Hub-Signature-256": None, "X-Hub-Signature": None}}),
    "SHA-1 only": (401, {"headers": {"X-Hub-Signature-256": None}}),
    "wrong signature": (401, {"headers": {"X-Hub-Signature-256": "sha256=" + "0" * 64}}),
    "strange signature": (401, {"headers": {"X-Hub-Signature-256": "sha256=\u00e9"}}),
    "somebody's secret": (401, {"secret": OTHER}),
    "no event": (400, {"headers": {"X-GitHub-Event": None}}),
    "no guid": (400, {"headers": {"X-GitHub-Delivery": None}}),
    "long guid": (400, {"headers": {"X-GitHub-Delivery": "1" * 101}}),
    "form": (415, {"content_type": "application/x-www-form-urlencoded"}),
    "multipart": (415, {"content_type": "multipart/form-data; boundary=x"}),
    "not JSON": (400, {"body": b"hello"}),
    "a list": (400, {"body": b"[]"}),
    "unknown repository": (404, {"body": payload(repository={"id": 4712, "full_name": "acme/gadgets"})}),
    "another repository of the same name": (404, {"body": payload(repository={"id": 1, "full_name": "acme/widgets"})}),
    "unknown installation": (404, {"body": payload(installation={"id": 666})}),
    "no repository": (404, {"body": {"action": "opened"}}),
    "strange repository": (404, {"body": payload(repository=["<script>"])}),
    "unknown installation without a repository": (404, {"body": {"installation": {"id": 5}}, "event": "organization"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_delivery_is_refused_and_nothing_of_it_is_stored(widgets, case):
    status, given = REFUSED[case]
    answer = post(given.get("body", payload()), **{name: value for name, value in given.items() if name != "body"})
    assert answer.status_code == status, answer.content
    assert set(answer.json()) == {"error", "fix"} and all(answer.json().values())
    for secret in (SECRET, OLD, "sha256=", "script", "gadgets"):
        assert secret not in answer.content.decode()
    assert not Delivery.objects.exists()


def test_a_body_that_was_written_anew_does_not_fit_its_signature(widgets):
    raw = json.dumps(payload()).encode()
    again = json.dumps(json.loads(raw), separators=(",", ":")).encode()
    assert post(again, headers=headers(raw)).status_code == 401
    assert not Delivery.objects.exists()


def test_more_than_five_megabytes_are_refused_by_what_is_announced_and_by_what_comes(widgets):
    large = json.dumps(payload(filler="x" * public_inbound.BODY_MAX_BYTES)).encode()
    assert post(large).status_code == 413
    # Announces little, sends much: no more is read than is announced, and that was not signed.
    sent = {**headers(large), "Content-Length": "100"}
    assert post(large, headers=sent).status_code in (400, 401, 413)
    assert not Delivery.objects.exists()
    fitting = json.dumps(payload(filler="x" * (public_inbound.BODY_MAX_BYTES - 1_000))).encode()
    assert post(fitting).status_code == 202


def test_without_a_secret_nothing_is_accepted_and_the_answer_names_the_fix(widgets, settings):
    settings.TRACKER_GITHUB_WEBHOOK_SECRETS = ["", ""]
    answer = post(payload(), secret="")
    assert answer.status_code == 503 and "GITHUB_WEBHOOK_SECRET" in answer.json()["fix"]
    assert not Delivery.objects.exists()


def test_other_methods_are_told_what_is_expected(db):
    answer = Client().get(URL)
    assert answer.status_code == 405 and set(answer.json()) == {"error", "fix"}


def test_the_path_works_without_its_slash_and_for_clients_that_want_html(widgets):
    raw = json.dumps(payload()).encode()
    sent = {**headers(raw), "Accept": "text/html"}
    assert Client().post("/webhooks/github", raw, content_type="application/json", headers=sent).status_code == 202


def test_an_inactive_repository_is_unknown(widgets):
    Repository.objects.update(is_active=False)
    assert post(payload()).status_code == 404


def test_a_repository_without_a_number_is_known_by_its_name_and_a_renamed_one_by_its_number(widgets):
    renamed = payload(repository={"id": REMOTE_ID, "full_name": "acme/renamed"})
    assert post(renamed).status_code == 202
    Repository.objects.update(remote_id=None)
    assert post(payload(repository={"id": 5, "full_name": "Acme/Widgets"})).status_code == 202
    assert set(Delivery.objects.values_list("scope", flat=True)) == {"acme/widgets"}


@pytest.mark.parametrize("event", ["ping", "installation", "installation_repositories"])
def test_the_first_words_of_a_new_place_are_taken(db, event):
    assert post({"action": "created", "installation": {"id": 5}}, event=event).status_code == 202


def test_unknown_events_of_known_places_are_stored_and_ignored(widgets):
    Installation.objects.create(installation_id=5, account="acme", updated_at=timezone.now())
    assert post(payload(), event="invented_tomorrow").status_code == 202
    assert post({"installation": {"id": 5}}, event="organization").status_code == 202
    for row in Delivery.objects.all():
        assert inbound.take_up(row.pk)
    assert set(Delivery.objects.values_list("state", flat=True)) == {"ignored"}


def test_a_payload_that_no_database_takes_as_it_is_is_stored_all_the_same(widgets):
    raw = json.dumps(payload()).replace("Do it", "\\u0000 \\ud800").encode()
    assert post(raw).status_code == 202
    assert Delivery.objects.get().payload["issue"]["title"] == "<b>\ufffd ?</b>"


def test_it_takes_two_queries(widgets, django_assert_num_queries):
    client = Client()
    with django_assert_num_queries(4):  # two of them a savepoint, which is there only within a test's transaction
        assert post(payload(), client=client).status_code == 202


# --- copies --------------------------------------------------------------------------------------------------------


def test_a_copy_is_accepted_and_has_no_effect(widgets):
    first = post(payload(), guid="same")
    second = post(payload(), guid="same")
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json() == {"delivery": first.json()["delivery"], "new": False}
    Delivery.objects.update(state="done", finished_at=timezone.now())
    assert post(payload(), guid="same").json()["new"] is False
    assert Delivery.objects.get().state == "done"


def test_a_delivery_that_failed_for_ever_is_taken_up_again_when_github_sends_it_again(widgets):
    post(payload(), guid="same")
    Delivery.objects.update(state="failed", finished_at=timezone.now(), attempts=20, error="no")
    assert post(payload(), guid="same").json()["new"] is True
    row = Delivery.objects.get()
    assert (row.state, row.attempts, row.error, row.finished_at) == ("received", 0, "", None)


def test_fifty_copies_at_once_are_one_row(transactional_db, widgets):
    barrier, answers = threading.Barrier(50), []

    def send() -> None:
        barrier.wait()
        try:
            answers.append(post(payload(), guid="same").json()["new"])
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    lender.close()
    assert sorted(answers) == [False] * 49 + [True]
    assert Delivery.objects.count() == 1


# --- taking up -----------------------------------------------------------------------------------------------------


@pytest.fixture
def github(settings: Any, transactional_db: None) -> Iterator[FakeGithub]:
    """A fake GitHub with our App on `acme`, whose repositories we take."""
    with account(settings, APP) as server:
        settings.TRACKER_GITHUB_OWNERS = ["acme"]
        yield server


def installed(server: FakeGithub, action: str = "created", event: str = "installation", **parts: Any) -> Delivery:
    """An event of our App's installation on `acme`."""
    said = {"id": our_installation(server), "account": {"login": "acme"}, "permissions": {"issues": "write"}}
    return stored(event, {"action": action, "installation": said, "sender": {"login": "adam"}, **parts})


def test_an_installation_on_our_account_takes_its_repositories_under_care(github):
    row = installed(github, repositories=[{"full_name": REPOSITORY}, {"full_name": "acme/nowhere"}])
    assert inbound.take_up(row.pk)
    repository, installation = Repository.objects.get(), Installation.objects.get()
    assert (repository.scope, repository.is_active, repository.installation_id) == (
        REPOSITORY,
        True,
        installation.installation_id,
    )
    assert installation.account == "acme" and installation.permissions == {"issues": "write"}
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("done", 1)


def test_an_installation_on_a_strange_account_is_written_down_and_nothing_else(github, settings):
    settings.TRACKER_GITHUB_OWNERS = ["somebody"]
    assert inbound.take_up(installed(github, repositories=[{"full_name": REPOSITORY}]).pk)
    assert Installation.objects.exists() and not Repository.objects.exists()


def test_what_was_removed_is_left_alone_unless_it_came_back(github):
    added = installed(github, "added", "installation_repositories", repositories_added=[{"full_name": REPOSITORY}])
    removed = installed(
        github, "removed", "installation_repositories", repositories_removed=[{"full_name": REPOSITORY}]
    )
    for row in (added, removed):  # the latter an old one: the App reaches the repository
        assert inbound.take_up(row.pk)
    assert Repository.objects.get().is_active
    github.world.set_installation_repositories(our_installation(github), [])
    assert public_inbound.reset(removed.pk) and inbound.take_up(removed.pk)
    assert not Repository.objects.get().is_active


def test_an_installation_that_was_deleted_stays_deleted(github):
    named = [{"full_name": REPOSITORY}]
    assert inbound.take_up(installed(github, repositories=named).pk)
    assert inbound.take_up(installed(github, "deleted", repositories=named).pk)
    assert not Repository.objects.get().is_active
    assert inbound.take_up(installed(github, repositories=named).pk)  # late
    assert Installation.objects.get().is_deleted and not Repository.objects.get().is_active
    assert post(payload(), event="organization").status_code == 404


def test_a_fault_of_the_tracker_puts_a_delivery_back_for_a_while(github):
    github.world.faults.append(Fault(kind="502", path="/repos/", times=100))
    row = installed(github, repositories=[{"full_name": REPOSITORY}])
    began = timezone.now()
    assert not inbound.take_up(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("received", 1) and "UnavailableError" in row.error
    assert timedelta(seconds=4) < row.not_before - began < timedelta(minutes=1)
    assert not inbound.take_up(row.pk), "not before its time"
    github.world.faults.clear()
    Delivery.objects.update(not_before=timezone.now())
    assert inbound.take_up_due() == 1
    row.refresh_from_db()
    assert (row.state, row.attempts, row.error) == ("done", 2, "")


def test_a_limit_puts_a_delivery_back_until_it_ends(github):
    github.world.faults.append(Fault(kind="429", path="/repos/", retry_after=300))
    row = installed(github, repositories=[{"full_name": REPOSITORY}])
    assert not inbound.take_up(row.pk)
    row.refresh_from_db()
    assert timedelta(seconds=280) < row.not_before - timezone.now() < timedelta(seconds=320)


def test_after_twenty_attempts_a_delivery_has_failed_and_doctor_says_so(github):
    github.world.faults.append(Fault(kind="502", path="/repos/", times=1_000))
    row = installed(github, repositories=[{"full_name": REPOSITORY}])
    Delivery.objects.update(attempts=ATTEMPTS_MAX - 1)
    assert not inbound.take_up(row.pk)
    row.refresh_from_db()
    assert row.state == "failed" and row.finished_at
    (violation,) = invariants.deliveries_are_processed()
    assert "UnavailableError" in violation.detail and f"replay_webhook {row.pk}" in violation.remedy


def test_a_delivery_that_kills_whoever_takes_it_up_fails_at_last(widgets):
    row = stored("issues", payload(), attempts=ATTEMPTS_MAX)
    assert not inbound.take_up(row.pk)
    row.refresh_from_db()
    assert row.state == "failed" and "without a word" in row.error


def test_of_many_workers_one_takes_a_delivery_up(transactional_db, widgets):
    row, barrier, claims = stored("issues", payload()), threading.Barrier(8), []

    def claim() -> None:
        barrier.wait()
        try:
            claims.append(public_inbound.claim(row.pk, now=timezone.now()))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len([claimed for claimed in claims if claimed]) == 1


def test_what_a_dead_worker_held_comes_back_and_he_has_no_say_any_more(widgets):
    row, now = stored("issues", payload()), timezone.now()
    dead = public_inbound.claim(row.pk, now=now)
    assert public_inbound.due(now) == [] and public_inbound.claim(row.pk, now=now) is None
    heir = public_inbound.claim(row.pk, now=now + LEASE)
    public_inbound.fail(dead, error="late", now=now)
    row.refresh_from_db()
    assert row.state == "received"
    public_inbound.finish(heir, is_ignored=False, now=now)
    row.refresh_from_db()
    assert row.state == "done"


def test_the_sweep_wakes_a_worker_for_what_nobody_took_up(widgets):
    stored("issues", payload())
    assert sweeps.wake_deliveries() == 0, "its message is on its way"
    Delivery.objects.update(received_at=timezone.now() - timedelta(seconds=11))
    assert sweeps.wake_deliveries() == 1
    Delivery.objects.update(not_before=timezone.now() + timedelta(minutes=1))
    assert sweeps.wake_deliveries() == 0, "it has to wait"


def test_events_of_a_repository_that_is_not_under_care_any_more_are_ignored(widgets):
    row = stored("issues", payload(), scope="acme/widgets")
    Repository.objects.update(is_active=False)
    assert inbound.take_up(row.pk)
    row.refresh_from_db()
    assert row.state == "ignored"


def test_a_repository_renamed_meanwhile_is_found(widgets):
    row = stored("push", payload(ref="refs/heads/topic", after="a" * 40), scope="acme/widgets")
    Repository.objects.update(scope="acme/renamed")
    (hint,) = public_inbound.hints(public_inbound.claim(row.pk, now=timezone.now()))
    assert (hint.scope, hint.branch) == ("acme/renamed", "topic")


# --- operators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["pk", "guid"])
def test_replay_takes_a_delivery_up_again_and_leaves_a_trace(widgets, by, capsys):
    row = stored("issues", payload(), state="failed", finished_at=timezone.now(), attempts=20, error="no")
    call_command("replay_webhook", str(getattr(row, by)), "--json")
    shown = json.loads(capsys.readouterr().out)["delivery"]
    assert (shown["id"], shown["state"], shown["attempts"]) == (row.pk, "received", 0)
    assert AuditEntry.objects.get().target == f"delivery:{row.pk}"


def test_replay_in_the_admin_asks_first_and_takes_up_again(widgets, admin_client):
    row = stored("issues", payload(), state="failed", finished_at=timezone.now(), attempts=20, error="no")
    asked = {"action": "replay", "_selected_action": [row.pk]}
    page = admin_client.post("/admin/tracker/delivery/", asked)
    row.refresh_from_db()
    assert page.status_code == 200 and row.state == "failed"
    admin_client.post("/admin/tracker/delivery/", {**asked, "confirmed": "yes"})
    row.refresh_from_db()
    assert row.state == "received" and AuditEntry.objects.get().actor == "admin:admin"


def test_replay_of_nothing_is_bad_input(db):
    with pytest.raises(CommandError, match="no delivery 'nope'") as caught:
        call_command("replay_webhook", "nope")
    assert caught.value.returncode == 2


def test_late_deliveries_break_the_law_until_they_are_taken_up(widgets):
    long_ago = timezone.now() - timedelta(minutes=4)
    row = stored("issues", payload(), received_at=long_ago, scope="acme/widgets")
    stored("issues", payload(), received_at=long_ago, not_before=timezone.now() + timedelta(minutes=1))
    (violation,) = invariants.deliveries_are_processed()
    assert str(row.pk) in violation.subject and "control" in violation.remedy


def test_old_deliveries_go_and_what_waits_stays(widgets):
    month, quarter = timezone.now() - timedelta(days=31), timezone.now() - timedelta(days=91)
    finished = {"finished_at": month}
    stored("issues", {}, state="done", received_at=month, **finished)
    stored("issues", {}, state="ignored", received_at=month, **finished)
    stored("issues", {}, state="failed", received_at=quarter, **finished)
    kept = [
        stored("issues", {}, state="failed", received_at=month, **finished),
        stored("issues", {}, received_at=quarter),
        stored("issues", {}, state="done", received_at=timezone.now(), **finished),
    ]
    assert public_inbound.prune(timezone.now()) == 3
    assert list(Delivery.objects.order_by("pk")) == kept


# --- wake-ups and connections --------------------------------------------------------------------------------------


def test_a_burst_becomes_few_messages_and_forgets_none():
    batches: list[list[int]] = []
    waker = waking.Waker(publish=lambda ids: batches.append(list(ids)), pause_seconds=0.02)
    for number in range(200):
        waker.wake(number)
    deadline = time.monotonic() + 10
    while sum(map(len, batches)) < 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [number for batch in batches for number in batch] == list(range(200)) and len(batches) < 20


def test_a_connection_is_lent_to_one_thread_after_another(transactional_db, widgets):
    mine, seen, problems = Lender(1), set(), []

    def use() -> None:
        try:
            with mine.borrowed():
                Repository.objects.count()
                seen.add(id(connections["default"]))
            assert not connections.all(initialized_only=True)
        except BaseException as error:
            problems.append(error)

    for _ in range(5):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(10)
    lent = list(mine.idle)
    mine.close()
    assert not problems and seen == {id(lent[0])} and len(lent) == 1
