"""A whole repository of GitHub read at once, and compared with our mirror, over HTTP against the fake."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.tracker.github_here import GithubHere, github, github_server, hints, make_pull
from tracker import public_sync
from tracker.fake_github import Fault
from tracker.models import Change, Issue, Quota, Repository
from tracker.public_errors import RateLimitedError, UnavailableError
from tracker.public_types import HintKind
from tracker.sync import pages

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


def fill(here: GithubHere) -> dict[str, int]:
    """A tree, blockers, comments and a pull request; numbers by name."""
    alice = here.as_person("alice")
    made = {name: alice.open_issue(name, body=f"{name}!") for name in ("root", "one", "two", "other")}
    alice.add_sub_issue(made["root"], made["two"])
    alice.add_sub_issue(made["root"], made["one"])
    alice.add_blocker(made["one"], made["two"])
    alice.add_label(made["root"], "agent:waiting")
    alice.close(made["two"])
    here.as_person("rita").comment(made["one"], "first")
    alice.comment(made["one"], "second")
    made["pull"] = make_pull(here)
    return made


def picture(here: GithubHere) -> Any:
    """All that the mirror says, by names that survive a lost database."""
    return {
        row.key: (
            row.title,
            row.body,
            row.is_open,
            row.agent_state,
            row.author_trust if row.is_open else "",
            row.parent.key if row.parent else None,
            [child.key for child in row.children.order_by("position")],
            sorted(link.blocker.key for link in row.blocker_links.all()),
            [(c.author, c.body, c.author_trust) for c in row.comments.order_by("created_at", "remote_id")],
        )
        for row in Issue.objects.filter(repository_id=here.repository.id).order_by("pk")
    }


def test_a_backfill_reads_what_refreshing_each_issue_would(github: GithubHere) -> None:
    made = fill(github)
    told: list[public_sync.Progress] = []
    done = public_sync.backfill(github.repository.id, progress=told.append)
    assert (done.issues, done.comments, done.changes, done.has_resumed) == (5, 2, 1, False)
    assert [step.phase for step in told] == ["issues", "comments", "pull requests", "done"]
    assert told[0].total == 5
    filled = picture(github)
    assert filled[str(made["root"])][6] == [str(made["two"]), str(made["one"])]
    Issue.objects.update(parent=None)
    Issue.objects.all().delete()
    for name in ("root", "one", "two", "other"):
        github.refresh(made[name])
    assert picture(github) == filled
    assert Change.objects.get().head_branch == "topic"
    assert Repository.objects.get().swept_until is not None


def test_a_second_backfill_asks_little_and_hides_no_change(github: GithubHere) -> None:
    made = fill(github)
    public_sync.backfill(github.repository.id)
    before = picture(github)
    public_sync.backfill(github.repository.id)
    assert picture(github) == before
    github.server.world.advance(5)
    github.as_person("alice").add_label(made["other"], "agent:ready")
    public_sync.backfill(github.repository.id)
    # The sweep has to see the difference: stored by a backfill, nobody would act on it.
    assert github.row(made["other"]).agent_state == ""
    assert (HintKind.ISSUE, str(made["other"])) in hints(github)


@pytest.mark.parametrize("path", ["/issues$", "/issues/comments$", "/pulls$", "/sub_issues$", "/permission$"])
def test_a_broken_backfill_goes_on(github: GithubHere, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PER_PAGE", 2)
    made = fill(github)
    for fault in ("403-secondary", "disconnect"):
        github.server.world.faults.append(Fault(kind=fault, path=path, times=5))
        with pytest.raises((RateLimitedError, UnavailableError)):
            public_sync.backfill(github.repository.id)
        github.server.world.faults.clear()
        Quota.objects.all().delete()
    done = public_sync.backfill(github.repository.id)
    assert done.has_resumed
    filled = picture(github)
    assert set(filled) == {str(made[name]) for name in ("root", "one", "two", "other")}
    public_sync.backfill(github.repository.id, afresh=True)
    assert picture(github) == filled
    assert {key: len(row[8]) for key, row in filled.items() if row[8]} == {str(made["one"]): 2}


def test_every_difference_is_found(github: GithubHere) -> None:
    made = fill(github)
    public_sync.backfill(github.repository.id)
    assert public_sync.compare(github.repository.id) == []
    alice = github.as_person("alice")
    alice.edit_issue(made["one"], title="renamed", body="rewritten")
    alice.add_label(made["root"], "agent:running")
    alice.add_label(made["two"], "agent:failed")
    alice.close(made["other"])
    new = alice.open_issue("new")
    ghost = Issue.objects.get(key=str(made["other"]))
    ghost.pk, ghost.key, ghost.remote_id = None, "4711", None
    ghost.save()
    found = {(drift.key, drift.what) for drift in public_sync.compare(github.repository.id)}
    assert found == {
        (str(made["one"]), "title"),
        (str(made["one"]), "body"),
        (str(made["root"]), "two state labels"),
        (str(made["two"]), "label on a closed issue"),
        (str(made["other"]), "state"),
        (str(new), "missing here"),
        ("4711", "gone there"),
    }
