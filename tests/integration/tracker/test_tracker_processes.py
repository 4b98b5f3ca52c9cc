"""Many processes on one database, and processes that are killed between a call and its storing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from django.db import connection
from django.utils import timezone

from tracker import public_api, public_writes
from tracker.models import Comment, Dependency, Issue, Operation
from tracker.public_types import IssueDraft, RepositoryView, Write, WriteKind

ROOT = Path(__file__).resolve().parents[3]
WORKERS = 8
pytestmark = pytest.mark.django_db(transaction=True)
type Crowd = Callable[..., Done]


class Done(NamedTuple):
    """How an act ended."""

    returncode: int
    stderr: str


@pytest.fixture
def repository(transactional_db: None) -> RepositoryView:
    """Committed, so that other processes see it."""
    return public_api.ensure_repository(
        tracker="local", scope="acme/widgets", source="/srv/widgets", default_branch="main"
    )


@pytest.fixture(scope="module")
def crowd(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """Runs acts of `tests.integration.tracker.crowd` on the database under test; loading Django once for all of them."""
    folder = tmp_path_factory.mktemp("crowd")
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url(), "AGENTGRID_STATE_DIR": str(folder)}
    command = [sys.executable, "-m", "tests.integration.tracker.crowd"]
    with (
        (folder / "errors").open("w+") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def run(act: str, workers: int, *arguments: object) -> Done:
            said_before = (folder / "errors").stat().st_size
            asked.write(json.dumps([act, str(workers), *map(str, arguments)]) + "\n")
            asked.flush()
            status = int(answers.readline())
            return Done(status, (folder / "errors").read_text()[said_before:])

        yield run


def database_url() -> str:
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    login = f"{quote(settings['USER'] or '')}:{quote(settings['PASSWORD'] or '')}"
    host = settings["OPTIONS"].get("host") or settings["HOST"] or "localhost"
    return f"postgres://{login}@/{settings['NAME']}?host={quote(host)}&port={settings['PORT'] or 5432}"


def test_eight_processes_filling_one_parent_stop_at_100_children(repository: RepositoryView, crowd: Crowd) -> None:
    parent = public_api.create_issue(repository_id=repository.id, draft=IssueDraft(title="Parent")).ref
    done = crowd("fill_parent", WORKERS, repository.scope, parent.key, 20)
    assert (done.returncode, done.stderr) == (0, "")
    assert Issue.objects.filter(parent__key=parent.key).count() == 100
    positions = Issue.objects.filter(parent__key=parent.key).values_list("position", flat=True)
    assert sorted(positions) == list(range(100))
    numbers = sorted(int(key) for key in Issue.objects.values_list("key", flat=True))
    assert numbers == list(range(1, 1 + 1 + WORKERS * 20))


def test_eight_processes_with_one_dedupe_key_create_one_issue(repository: RepositoryView, crowd: Crowd) -> None:
    done = crowd("create_same", WORKERS, repository.scope, 15)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(Issue.objects.values_list("dedupe_key", flat=True)) == sorted(f"shared {n}" for n in range(15))


def test_eight_processes_cannot_close_a_circle(repository: RepositoryView, crowd: Crowd) -> None:
    for number in range(6):
        public_api.create_issue(repository_id=repository.id, draft=IssueDraft(title=f"Issue {number}"))
    done = crowd("close_circle", WORKERS, repository.scope, 6)
    assert (done.returncode, done.stderr) == (0, "")
    assert Dependency.objects.count() == 5
    assert Issue.objects.exclude(parent=None).count() == 5


def test_eight_processes_wishing_and_draining_the_same_write_each_once(
    repository: RepositoryView, crowd: Crowd
) -> None:
    done = crowd("wish_and_drain", WORKERS, repository.id, 12)
    assert (done.returncode, done.stderr) == (0, "")
    public_writes.drain(repository.id, now=timezone.now())
    assert sorted(Issue.objects.values_list("title", flat=True)) == sorted(f"Issue {n}" for n in range(12))
    assert set(Operation.objects.values_list("state", "attempts")) == {("done", 1)}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["create", "link_child", "set_blockers", "set_state", "upsert_comment", "close"])
def test_a_drainer_killed_at_a_call_leaves_every_write_to_happen_once(
    repository: RepositoryView, crowd: Crowd, method: str, when: str
) -> None:
    child = {"from": "child"}
    writes = [
        Write(key="parent", kind=WriteKind.CREATE_ISSUE, payload={"title": "Parent"}),
        Write(
            key="child",
            kind=WriteKind.CREATE_ISSUE,
            payload={"title": "Child", "parent": {"from": "parent"}, "blockers": ["1"]},
        ),
        Write(key="state", kind=WriteKind.SET_STATE, payload={"ref": child, "state": "running"}),
        Write(key="note", kind=WriteKind.UPSERT_COMMENT, payload={"ref": child, "slot": "status", "markdown": "Hello"}),
        Write(key="close", kind=WriteKind.CLOSE, payload={"ref": child, "reason": "completed"}),
    ]
    public_writes.wish(repository.id, writes)
    killed = crowd("drain_and_die", 1, repository.id, method, when)
    assert killed.returncode == 1
    assert killed.stderr == ""
    interrupted = Operation.objects.filter(state="pending").order_by("id").first()
    assert interrupted is not None
    assert interrupted.attempts == 1
    now = timezone.now()
    assert public_writes.drain(repository.id, now=now) == []
    results = public_writes.drain(repository.id, now=now + timedelta(seconds=61))
    assert results
    assert all(result.is_done for result in public_writes.results([write.key for write in writes]).values())
    assert list(Issue.objects.order_by("id").values_list("key", "title", "is_open")) == [
        ("1", "Parent", True),
        ("2", "Child", False),
    ]
    assert Comment.objects.count() == 1
    assert Dependency.objects.count() == 1
    assert Issue.objects.get(key="2").parent == Issue.objects.get(key="1")
