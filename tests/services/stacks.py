"""Fixtures that make stacks: on any database and broker, cleaned up, with their logs when the test failed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pytest_django import DjangoDbBlocker

from tests.services import replays
from tests.services.stack import Stack

_FAILED = pytest.StashKey[bool]()
_next_redis_database = iter(range(1, 64))


@pytest.fixture
def new_stack(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stack]]:
    """Makes stacks, e.g. `new_stack(database="postgres", broker="sqs", slots=2, extra_env={…})`; cleans up behind them.

    When a test went well, the event log of each must build its state again; `is_replayed=False` for a test that breaks its
    database on purpose.

    `database`: sqlite, postgres or a URL. `broker`: gridfs, sqs, redis or a URL. The servers are started when needed.
    Database and broker are ready to use; `migrated=False` leaves both empty.
    """
    stacks: list[Stack] = []
    blocker: DjangoDbBlocker = request.getfixturevalue("django_db_blocker")

    def create(
        *,
        database: str = "sqlite",
        broker: str = "gridfs",
        migrated: bool = True,
        is_replayed: bool = True,
        **options: Any,
    ) -> Stack:
        is_ours = database in ("sqlite", "postgres")
        tables = request.getfixturevalue(f"migrated_{database}") if migrated and is_ours else ""
        if database == "postgres":
            database = request.getfixturevalue("new_postgres_database")(template=tables)
        if broker == "redis":
            broker = _fresh_redis(request.getfixturevalue("redis_url"))
        elif broker == "sqs":
            broker = request.getfixturevalue("sqs_url")
        # Not tmp_path: sockets below it would exceed the 107 bytes that their paths may have.
        created = Stack(Path(tempfile.mkdtemp(prefix="ag-")), database=database, broker=broker, **options)
        created.is_replayed = is_replayed and bool(tables)
        stacks.append(created)
        if database == "sqlite" and tables:
            shutil.copy(tables, created.state_dir / "agentgrid.sqlite3")
        return created.prepare_broker() if tables else created

    yield create
    failed = request.node.stash.get(_FAILED, False)
    problems: list[str] = []
    for created in stacks:
        try:
            created.close()
            if not failed and created.is_replayed:
                with blocker.unblock():
                    problems += _replayed(request, created)
        finally:
            if failed:
                _show_logs(created)
            shutil.rmtree(created.folder, ignore_errors=True)
    assert not problems, "\n".join(["the event log does not build the same state again:", *problems[:40]])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember that a test failed, for the fixtures that clean up after it."""
    report: Any = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


def _replayed(request: pytest.FixtureRequest, stack_: Stack) -> list[str]:
    """The standing check of the event log, see `tests.services.replays`."""
    if "DATABASE_URL" not in stack_.env:
        new_database = replays.copied(request.getfixturevalue("migrated_sqlite"))
    else:
        template = request.getfixturevalue("migrated_postgres")
        make = request.getfixturevalue("new_postgres_database")
        new_database = lambda _folder: make(template=template)  # noqa: E731
    return replays.differences(stack_, new_database=new_database)


def _fresh_redis(url: str) -> str:
    mine = f"{url.rsplit('/', 1)[0]}/{next(_next_redis_database)}"
    with redis.Redis.from_url(mine) as client:
        client.flushdb()
    return mine


def _show_logs(stack_: Stack) -> None:
    for name in sorted(file.stem for file in stack_.folder.glob("*.log")):
        if text := stack_.logs(name):
            print(f"--- last lines of {name} ({stack_.folder})", *text.splitlines()[-60:], sep="\n")
