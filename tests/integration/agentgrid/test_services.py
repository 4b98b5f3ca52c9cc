"""The servers under the tests are real."""

from __future__ import annotations

import socket

import psycopg
import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection


def test_postgres_answers(postgres_url: str, new_postgres_database) -> None:
    other = new_postgres_database()
    assert other != postgres_url
    with psycopg.connect(other.replace("postgres://", "postgresql://")) as session:
        assert session.execute("SELECT 40 + 2").fetchone() == (42,)


def test_redis_answers(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    assert client.set("a", 1)
    assert client.get("a") == b"1"
    client.close()


def test_a_test_cannot_leave_the_machine() -> None:
    with socket.socket() as probe, pytest.raises(RuntimeError, match="wanted to connect"):
        probe.connect(("203.0.113.1", 80))


@pytest.mark.django_db
def test_the_database_is_the_chosen_one(request: pytest.FixtureRequest) -> None:
    assert User.objects.count() == 0
    assert connection.vendor == {"sqlite": "sqlite", "postgres": "postgresql"}[
        request.config.getoption("--database")
    ] or ("DATABASE_URL" in settings.DATABASES)


def test_each_test_has_a_state_folder(state_dir) -> None:
    assert state_dir == settings.GRID_STATE_DIR
    assert list(state_dir.iterdir()) == []
