"""Test databases that are migrated once for a whole run and emptied in milliseconds.

Migrating takes two seconds of a core; every process of pytest-xdist and every stack copies the outcome instead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import environ
import pytest
from django.conf import settings as django_settings
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker

from tests.services.stack import Stack

_MADE_ONCE = ("django_content_type", "auth_permission")
"""What Django itself writes after migrating; rows of the second refer to the first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--database=postgres` runs every database test on a PostgreSQL started for this run."""
    parser.addoption("--database", choices=("sqlite", "postgres"), default="sqlite", help="database under the tests")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database file with our tables, to be copied; made by whichever process of the run needs it first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the run's own folder, which its processes share
    made = folder / "migrated.sqlite3"
    with (folder / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, or with the process
        if not made.exists():
            stack_ = Stack(tmp_path_factory.mktemp("migrated"))
            stack_.manage("migrate", "--verbosity=0", timeout=120)
            stack_.close()
            (stack_.state_dir / "agentgrid.sqlite3").replace(made)
    return str(made)


@pytest.fixture(scope="session")
def migrated_postgres(new_postgres_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a PostgreSQL database with our tables, to be a template."""
    url = new_postgres_database()
    stack_ = Stack(tmp_path_factory.mktemp("migrated"), database=url)
    stack_.manage("migrate", "--verbosity=0", timeout=120)
    stack_.close()
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Choose the database. SQLite lives in a file: threads and processes race for it as they do in production."""
    config: dict[str, Any] = django_settings.DATABASES["default"]
    if request.config.getoption("--database") == "postgres":
        url = request.getfixturevalue("postgres_url")
        config.clear()
        config.update(environ.Env.db_url_config(url))
        del connections["default"]
        connections.configure_settings(django_settings.DATABASES)  # fills in the defaults of the new entry
    if config["ENGINE"].endswith("sqlite3"):
        # Nothing here has to survive a power cut; what a killed process has committed is in the page cache.
        config["OPTIONS"] |= {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"}
        name = tmp_path_factory.mktemp("database") / "test.sqlite3"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), name)
        config.setdefault("TEST", {})["NAME"] = str(name)
    elif worker := os.environ.get("PYTEST_XDIST_WORKER"):
        config.setdefault("TEST", {})["NAME"] = f"test_{config['NAME']}_{worker}"


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_modify_db_settings: None, django_db_keepdb: bool) -> bool:
    """Take the copied file as it is: Django then applies what is missing, which is nothing."""
    return django_db_keepdb or django_settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Make emptying quick: content types and permissions stay, not to be worked out from every model again.

    The tests with transactions of their own empty all tables when they end. Django then looks up each of some two
    hundred permissions, which takes longer than most of these tests. Only after a test that changes them are they
    written anew.
    """
    with django_db_blocker.unblock():
        kept = {table: _rows(table) for table in _MADE_ONCE}

    def without_them(style: Any, connection: BaseDatabaseWrapper, **options: bool) -> list[str]:
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        written = [table for table in tables if table not in _MADE_ONCE]
        return connection.ops.sql_flush(style, written, **options)

    def put_back(verbosity: int, interactive: bool, database: str, **_: object) -> None:
        if any(_rows(table) != rows for table, rows in kept.items()):
            with connections[database].cursor() as cursor:
                for table in reversed(_MADE_ONCE):
                    cursor.execute(f"DELETE FROM {table}")
                for table, (columns, rows) in kept.items():
                    places = ", ".join(["%s"] * len(columns))
                    cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
        ContentType.objects.clear_cache()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", without_them)
        patch.setattr(flush, "emit_post_migrate_signal", put_back)
        yield


def _rows(table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of the columns, and the rows."""
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")
        return [column[0] for column in cursor.description], cursor.fetchall()
