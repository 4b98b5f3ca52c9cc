"""Sessions with a fake GitHub over HTTP: who we are, every failure, limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_account import (
    APP,
    PERSON,
    TOKEN,
    account,
    app_server,
    create_issue,
    make_repository,
    our_app,
    our_installation,
    sent,
    server,
)
from tracker.fake_github import FakeGithub, Fault
from tracker.github import requester
from tracker.github.session import Session, open_session
from tracker.models import Quota, Repository
from tracker.public_errors import (
    ConflictError,
    CredentialError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RateLimitedError,
    UnavailableError,
)

__all__ = ["app_server", "server"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[APP, PERSON])
def either(request: Any, settings: Any) -> Iterator[FakeGithub]:
    with account(settings, request.param) as server:
        yield server


@pytest.fixture
def session(server: FakeGithub) -> Iterator[Session]:
    with open_session(make_repository()) as session:
        yield session


# --- who we are ------------------------------------------------------------------------------------------------------


def test_a_session_works_as_our_app_and_as_a_person(either: FakeGithub) -> None:
    with open_session(make_repository()) as session:
        number = create_issue(session)
        with session.calling():
            assert session.repo.get_issue(number).user.login == session.login
        assert session.json("GET", f"{session.path}/issues/{number}")[2]["title"] == "A title"
        assert Quota.objects.get(account=session.account).remaining < 5_000


def test_an_app_is_its_bot_and_pays_from_its_installation(app_server: FakeGithub) -> None:
    repository = make_repository()
    with open_session(repository) as session:
        assert session.login == "agent-grid[bot]"
        assert session.account == f"installation:{our_installation(app_server)}"
    repository.refresh_from_db()
    assert repository.installation_id == our_installation(app_server)


def test_a_token_is_its_person_and_asks_who_that_is_once(server: FakeGithub) -> None:
    repository = make_repository()
    for _ in range(3):
        with open_session(repository) as one:
            assert (one.login, one.account) == ("agent-bot", "token:agent-bot")
    assert len(sent(server, "GET", "/user")) == 1


def test_a_row_that_is_not_saved_will_do(app_server: FakeGithub) -> None:
    with open_session(Repository(tracker="github", scope=REPOSITORY)) as session:
        assert session.json("GET", session.path)[2]["full_name"] == REPOSITORY


def test_no_secret_shows_in_a_session(session: Session) -> None:
    assert TOKEN not in f"{session!r}{vars(session)!r}{session.github.requester.auth!r}"


# --- refusals to start -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings_given", "says"),
    [
        ({}, "GITHUB_TOKEN"),
        ({"APP_ID": "1"}, "set GITHUB_APP_PRIVATE_KEY"),
        ({"APP_KEY": "x"}, "set GITHUB_APP_ID"),
        ({"APP_ID": "1", "APP_KEY": "-----BEGIN SECRETS-----"}, "no RSA private key"),
        ({"TOKEN": "two\nlines"}, "line ends"),
    ],
)
def test_a_bad_configuration_is_refused_with_the_fix(
    server: FakeGithub, settings: Any, settings_given: dict[str, str], says: str
) -> None:
    settings.TRACKER_GITHUB_TOKEN = ""
    for name, value in settings_given.items():
        setattr(settings, f"TRACKER_GITHUB_{name}", value)
    with pytest.raises(CredentialError, match=says) as caught:
        open_session(make_repository())
    assert "SECRETS" not in str(caught.value) and caught.value.__cause__ is None
    assert not sent(server)


def test_an_app_that_is_not_installed_is_refused_with_the_fix(app_server: FakeGithub) -> None:
    app_server.world.remove_installation(our_installation(app_server))
    with pytest.raises(ForbiddenError, match="not installed on acme/widgets"):
        open_session(make_repository())


def test_an_app_installed_anew_is_found_again(app_server: FakeGithub) -> None:
    repository = make_repository()
    with open_session(repository):
        pass
    app_server.world.remove_installation(our_installation(app_server))
    app_server.world.add_installation(our_app(app_server))
    with open_session(repository) as session, pytest.raises(ForbiddenError, match="is gone"):
        create_issue(session)
    repository.refresh_from_db()
    with open_session(repository) as session:
        assert create_issue(session) == 1


@pytest.mark.parametrize("scope", ["acme", "acme/../x", "acme/..", "../user", "acme/widgets?x", "acme/widgets/issues"])
def test_a_scope_that_cannot_exist_is_not_found(server: FakeGithub, scope: str) -> None:
    with pytest.raises(NotFoundError):
        open_session(Repository(tracker="github", scope=scope))
    assert not sent(server)


def test_a_local_repository_has_no_session(server: FakeGithub) -> None:
    with pytest.raises(InvalidError):
        open_session(Repository(tracker="local", scope=REPOSITORY))


# --- rules of a block ------------------------------------------------------------------------------------------------


def test_nothing_is_called_inside_a_transaction(session: Session) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError), session.calling():
        pass


def test_nothing_is_called_outside_a_block(session: Session) -> None:
    with pytest.raises(RuntimeError, match="calling"):
        session.repo.create_issue("x")


def test_a_block_that_reads_cannot_write(server: FakeGithub, session: Session) -> None:
    with pytest.raises(RuntimeError, match="write=True"), session.calling():
        session.repo.create_issue("x")
    assert not sent(server, "POST")


def test_an_error_is_caught_within_an_outer_block(session: Session) -> None:
    number = create_issue(session)
    with session.calling(write=True):
        with pytest.raises(NotFoundError):
            session.json("GET", f"{session.path}/issues/{number}/parent")
        assert session.repo.create_issue("Another").number == number + 1


def test_errors_of_the_caller_pass_through(session: Session) -> None:
    for error in (ValueError("mine"), AssertionError("mine"), KeyError("mine")):
        with pytest.raises(type(error), match="mine"), session.calling():
            raise error


def test_eager_copies_of_the_client_are_watched_too(session: Session) -> None:
    with pytest.raises(RuntimeError, match="calling"):
        session.github.requester.withLazy(lazy=False).requestJson("GET", session.path)


# --- failures: reference/github.md 3.1 -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["500", "502", "503", "504", "disconnect"])
def test_a_post_is_sent_once_and_maybe_applied(server: FakeGithub, session: Session, kind: str) -> None:
    fault = Fault(method="POST", kind=kind, times=9)
    server.world.faults.append(fault)
    with pytest.raises(UnavailableError) as caught:
        create_issue(session)
    assert caught.value.maybe_applied
    assert fault.fired == 1


@pytest.mark.parametrize("kind", ["502", "disconnect"])
def test_a_post_whose_answer_is_lost_is_sent_once(server: FakeGithub, session: Session, kind: str) -> None:
    server.world.faults.append(Fault(method="POST", kind=kind, when="after", times=9))
    with pytest.raises(UnavailableError) as caught:
        create_issue(session)
    assert caught.value.maybe_applied
    assert len(server.world.repository(REPOSITORY).issues) == 1


@pytest.mark.parametrize("kind", ["502", "503", "disconnect"])
def test_reads_are_tried_again(server: FakeGithub, session: Session, kind: str) -> None:
    server.world.faults.append(Fault(method="GET", kind=kind, times=3))
    assert session.json("GET", session.path)[0] == 200


def test_reads_give_up_and_changed_nothing(server: FakeGithub, session: Session) -> None:
    fault = Fault(method="GET", kind="502", times=99)
    server.world.faults.append(fault)
    with pytest.raises(UnavailableError) as caught:
        session.json("GET", session.path)
    assert not caught.value.maybe_applied
    assert fault.fired == 4


def test_an_edit_is_tried_again(server: FakeGithub, session: Session) -> None:
    number = create_issue(session)
    server.world.faults.append(Fault(method="PATCH", kind="502", when="after"))
    session.json("PATCH", f"{session.path}/issues/{number}", {"title": "Changed"})
    assert server.world.repository(REPOSITORY).issues[number].title == "Changed"


def test_a_failed_read_after_a_write_is_maybe_applied(server: FakeGithub, session: Session) -> None:
    server.world.faults.append(Fault(method="GET", kind="502", times=99))

    def write_and_read() -> None:
        with session.calling(write=True):
            session.repo.create_issue("x")
            session.json("GET", session.path)

    with pytest.raises(UnavailableError) as caught:
        write_and_read()
    assert caught.value.maybe_applied


def test_a_read_that_fails_before_the_write_is_not_maybe_applied(server: FakeGithub, session: Session) -> None:
    server.world.faults.append(Fault(method="GET", kind="502", times=99))

    def read_and_write() -> None:
        with session.calling(write=True):
            session.json("GET", session.path)
            session.repo.create_issue("x")

    with pytest.raises(UnavailableError) as caught:
        read_and_write()
    assert not caught.value.maybe_applied


def test_a_refused_write_is_not_maybe_applied(server: FakeGithub, session: Session) -> None:
    server.world.faults.append(Fault(method="GET", kind="502", times=99))
    with session.calling(write=True):
        with pytest.raises(InvalidError):
            session.json("POST", f"{session.path}/issues", {"title": ""})
        with pytest.raises(UnavailableError) as caught:
            session.json("GET", session.path)
    assert not caught.value.maybe_applied


def test_a_server_that_is_silent_is_unavailable(
    server: FakeGithub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TRACKER_GITHUB_TIMEOUT_SECONDS = 0.3
    monkeypatch.setattr(requester, "START_WITHIN_SECONDS", 1.0)
    fault = Fault(kind="timeout", path="issues|widgets$", times=9, seconds=5)
    with open_session(make_repository()) as session:
        server.world.faults.append(fault)
        with pytest.raises(UnavailableError) as caught:
            create_issue(session)
        assert caught.value.maybe_applied
        assert fault.fired == 1
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            session.json("GET", session.path)
        assert not caught.value.maybe_applied
        assert time.monotonic() - began < 2


def test_retries_end_with_the_block(server: FakeGithub, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requester, "START_WITHIN_SECONDS", 0.1)
    fault = Fault(method="GET", kind="502", times=9)
    server.world.faults.append(fault)
    with pytest.raises(UnavailableError):
        session.json("GET", session.path)
    assert fault.fired < 4
    server.world.faults.clear()
    with session.calling():
        time.sleep(0.2)
        with pytest.raises(UnavailableError, match="slow"):
            session.json("GET", session.path)


def test_a_connection_refused_is_certainly_not_applied(server: FakeGithub, session: Session) -> None:
    server.stop()
    with pytest.raises(UnavailableError) as caught:
        create_issue(session)
    assert not caught.value.maybe_applied


@pytest.mark.parametrize(
    ("kind", "retry_after", "seconds"),
    [
        ("403-secondary", 30, 30),
        ("403-secondary", None, 60),
        ("429", 8, 8),
        ("429", None, 60),
        ("403-primary", 120, 120),
    ],
)
def test_limits_are_told_at_once_and_keep_everybody_away(
    server: FakeGithub, session: Session, kind: str, retry_after: int | None, seconds: int
) -> None:
    server.world.faults.append(Fault(method="POST", kind=kind, retry_after=retry_after, times=9))
    began, before = time.monotonic(), timezone.now()
    with pytest.raises(RateLimitedError) as caught:
        create_issue(session)
    assert time.monotonic() - began < 1
    assert abs((caught.value.retry_at - before).total_seconds() - seconds) < 3
    count = len(server.traffic)
    with open_session(Repository.objects.get()) as another, pytest.raises(RateLimitedError) as refused:
        another.json("GET", another.path)
    assert len(server.traffic) == count
    assert abs(refused.value.retry_at - caught.value.retry_at) < timedelta(seconds=1)


def test_bad_credentials_name_the_fix(server: FakeGithub, session: Session) -> None:
    server.world.tokens.clear()
    with pytest.raises(CredentialError, match="GITHUB_TOKEN") as caught:
        create_issue(session)
    assert TOKEN not in str(caught.value)


def test_a_missing_permission_is_forbidden(app_server: FakeGithub) -> None:
    app_server.world.set_app_permissions(our_installation(app_server), {"issues": "read", "metadata": "read"})
    with open_session(make_repository()) as session, pytest.raises(ForbiddenError, match="permission"):
        create_issue(session)


def test_what_github_refuses_keeps_its_meaning(server: FakeGithub, session: Session) -> None:
    with pytest.raises(NotFoundError):
        session.json("GET", f"{session.path}/issues/99")
    with pytest.raises(InvalidError) as caught:
        session.json("POST", f"{session.path}/issues", {"title": ""})
    assert caught.value.field == "title"
    session.json("POST", f"{session.path}/labels", {"name": "one", "color": "ffffff"})
    with pytest.raises(ConflictError):
        session.json("POST", f"{session.path}/labels", {"name": "one", "color": "ffffff"})
    server.world.repository(REPOSITORY).has_issues = False
    with pytest.raises(ForbiddenError, match="issues are switched off"):
        create_issue(session)


def test_urls_of_another_name_name_the_setting(server: FakeGithub, settings: Any) -> None:
    with open_session(make_repository()) as session:
        create_issue(session)
    settings.TRACKER_GITHUB_API_URL = server.url.replace("127.0.0.1", "localhost")
    with open_session(Repository.objects.get()) as session:
        with pytest.raises(UnavailableError, match="GITHUB_API_URL"), session.calling(write=True):
            session.repo.get_issues(state="all")[0].create_comment("x")
        with pytest.raises(UnavailableError, match="GITHUB_API_URL"):
            session.json("GET", f"{server.url}/user")


def test_a_page_of_html_is_no_answer(session: Session) -> None:
    with pytest.raises(UnavailableError, match="GITHUB_API_URL"):
        session.json("GET", "/")


def test_an_unchanged_answer_is_a_304(session: Session) -> None:
    _, headers, _ = session.json("GET", session.path)
    status, _, body = session.json("GET", session.path, headers={"If-None-Match": headers["etag"]})
    assert (status, body) == (304, None)


# --- quota -----------------------------------------------------------------------------------------------------------


def spend(server: FakeGithub, *, left: int) -> None:
    world = server.world
    identity = f"user:{world.user('agent-bot').id}"
    world.rate_limit = 100
    world.spent[identity] = (world.now() + timedelta(hours=1), 100 - left)


def test_a_low_quota_slows_reads_but_by_no_more_than_two_seconds(server: FakeGithub, session: Session) -> None:
    spend(server, left=19)
    session.json("GET", session.path)
    began = time.monotonic()
    session.json("GET", session.path)
    assert 0.5 < time.monotonic() - began < 2


def test_an_empty_quota_stops_before_anything_is_sent(server: FakeGithub, session: Session) -> None:
    spend(server, left=2)
    session.json("GET", session.path)
    count = len(server.traffic)
    began = time.monotonic()
    for write in (False, True):
        with pytest.raises(RateLimitedError) as caught:
            create_issue(session) if write else session.json("GET", session.path)
        assert timedelta(minutes=59) < caught.value.retry_at - timezone.now() < timedelta(minutes=61)
    assert time.monotonic() - began < 1
    assert len(server.traffic) == count


def test_writes_keep_their_distance_and_long_waits_are_refused(
    server: FakeGithub, session: Session, settings: Any
) -> None:
    settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = 1
    began = time.monotonic()
    create_issue(session)
    create_issue(session)
    assert 1 <= time.monotonic() - began < 2
    settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = 30
    began = time.monotonic()
    with pytest.raises(RateLimitedError):
        create_issue(session)
    assert time.monotonic() - began < 1
    assert len(server.world.repository(REPOSITORY).issues) == 2
    assert session.json("GET", session.path)[0] == 200


def test_a_block_that_has_written_is_not_refused_half_way(server: FakeGithub, session: Session, settings: Any) -> None:
    settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = 1
    with session.calling(write=True):
        for number in range(4):
            session.repo.create_issue(f"Issue {number}")
    assert len(server.world.repository(REPOSITORY).issues) == 4
