"""Tokens of an installation: minted once for everybody, kept from eyes, given up when refused; over HTTP against the fake."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

import pytest
import redis
from django.core.cache import cache, caches
from django.db import connection
from django.test import override_settings

from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_account import (
    app_server,
    create_issue,
    make_repository,
    sent,
)
from tracker.fake_github import FakeGithub, Fault
from tracker.github.session import open_session
from tracker.public_errors import (
    CredentialError,
    NotFoundError,
    UnavailableError,
)

__all__ = ["app_server"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_eight_threads_mint_one_token(app_server: FakeGithub) -> None:
    repository = make_repository()
    with open_session(repository):
        pass
    start, failures = threading.Barrier(8), []

    def work() -> None:
        with contextlib.closing(connection):
            try:
                with open_session(repository) as session:
                    start.wait(10)
                    session.json("GET", session.path)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert len(sent(app_server, "POST", "access_tokens")) == 1


def redis_at(url: str) -> Any:
    return override_settings(
        CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}}
    )


def test_processes_share_a_token_through_redis(app_server: FakeGithub, redis_url: str) -> None:
    repository, url = make_repository(), f"{redis_url.rsplit('/', 1)[0]}/9"
    with redis_at(url):
        cache.clear()
        for _ in range(2):
            with open_session(repository) as session:
                session.json("GET", session.path)
            caches.close_all()  # another process shares nothing but the server
    assert len(sent(app_server, "POST", "access_tokens")) == 1
    token = next(iter(app_server.world.installation_tokens)).encode()
    with contextlib.closing(redis.Redis.from_url(url)) as server:
        values = [server.get(key) for key in server.scan_iter()]
    assert values
    assert not any(token in value for value in values)


def test_work_goes_on_without_redis(app_server: FakeGithub) -> None:
    with redis_at("redis://127.0.0.1:1/0"), open_session(make_repository()) as session:
        assert create_issue(session) == 1


def test_a_token_that_is_refused_is_minted_once_more_and_nothing_is_done_twice(app_server: FakeGithub) -> None:
    repository = make_repository()
    with open_session(repository) as session:
        session.json("GET", session.path)
        app_server.world.installation_tokens.clear()
        create_issue(session)
        assert len(app_server.world.repository(REPOSITORY).issues) == 1
        assert len(sent(app_server, "POST", "access_tokens")) == 2
        app_server.world.installation_tokens.clear()
        with pytest.raises(CredentialError):
            create_issue(session)
    assert len(sent(app_server, "POST", "access_tokens")) == 2


def test_a_token_is_shared_until_shortly_before_it_expires(app_server: FakeGithub) -> None:
    repository = make_repository()
    for lifetime, mints in ((3_600, 1), (3_600, 1), (240, 1)):
        app_server.world.token_lifetime_seconds = lifetime
        with open_session(repository) as session:
            session.json("GET", session.path)
        assert len(sent(app_server, "POST", "access_tokens")) == mints
    cache.clear()
    for mints in (2, 3):  # four minutes are too few to be shared
        with open_session(repository) as session:
            session.json("GET", session.path)
        assert len(sent(app_server, "POST", "access_tokens")) == mints


def test_the_cache_holds_no_token_in_plain_text(app_server: FakeGithub) -> None:
    with open_session(make_repository()) as session:
        session.json("GET", session.path)
    token = next(iter(app_server.world.installation_tokens))
    held = b"".join(cache._cache.values())  # type: ignore[attr-defined]  # the local memory back end's store
    assert held
    assert token.encode() not in held


def test_a_cache_of_another_secret_key_is_minted_anew(app_server: FakeGithub, settings: Any) -> None:
    repository = make_repository()
    for key in ("one", "another"):
        settings.SECRET_KEY = key
        with open_session(repository) as session:
            session.json("GET", session.path)
    assert len(sent(app_server, "POST", "access_tokens")) == 2


def test_a_session_reaches_its_own_repository_only(app_server: FakeGithub) -> None:
    app_server.world.add_repository("acme/secrets")
    with open_session(make_repository()) as session, pytest.raises(NotFoundError):
        session.json("GET", "/repos/acme/secrets")


def test_tokens_are_never_logged(app_server: FakeGithub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="github")
    with open_session(make_repository()) as session:
        create_issue(session)
    token = next(iter(app_server.world.installation_tokens))
    assert token not in caplog.text


def test_a_mint_that_fails_is_certainly_not_applied(app_server: FakeGithub) -> None:
    app_server.world.faults.append(Fault(method="POST", path="access_tokens", kind="502"))
    with open_session(make_repository()) as session:
        with pytest.raises(UnavailableError) as caught:
            create_issue(session)
        assert not caught.value.maybe_applied
        assert create_issue(session) == 1
