"""The local tracker's own drain: a batch and its results commit together, whoever else drains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tracker import public_api, public_writes
from tracker.models import Issue, Operation
from tracker.public_types import RepositoryView, Write, WriteKind

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def repository(transactional_db: None) -> RepositoryView:
    return public_api.ensure_repository(tracker="local", scope="acme/app", source="/srv/app", default_branch="main")


def create(key: str, title: str = "A part", **payload: object) -> Write:
    return Write(key=key, kind=WriteKind.CREATE_ISSUE, payload={"title": title, **payload})


def test_many_drains_at_once_carry_each_write_out_once(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create(f"k{number}") for number in range(60)])

    def drain(_: int) -> list[str]:
        try:
            return [result.key for result in public_writes.drain(repository.id, now=timezone.now())]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        handled = [key for keys in pool.map(drain, range(8)) for key in keys]
    assert sorted(handled) == sorted(f"k{number}" for number in range(60))
    assert Issue.objects.count() == 60
    assert set(Operation.objects.values_list("state", "attempts")) == {("done", 1)}


def test_a_refused_write_fails_with_what_depends_on_it_and_others_go_on(repository: RepositoryView) -> None:
    child = create("child", parent={"from": "bad"})
    public_writes.wish(repository.id, [create("bad", title="x" * 300), child, create("good")])
    public_writes.drain(repository.id, now=timezone.now())
    results = public_writes.results(["bad", "child", "good"])
    assert [results[key].is_permanent for key in ("bad", "child", "good")] == [True, True, False]
    assert "bad" in results["child"].error and results["good"].is_done
    assert Issue.objects.count() == 1


def test_it_refuses_to_run_inside_a_transaction(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("k")])
    with transaction.atomic(), pytest.raises(RuntimeError):
        public_writes.drain(repository.id, now=timezone.now())
