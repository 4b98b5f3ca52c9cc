"""The door of the package: repositories, issues, facts, acts of operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tracker import public_api
from tracker.local import people
from tracker.models import IssueLabel, Repository
from tracker.public_errors import ForbiddenError, InvalidError, NotFoundError
from tracker.public_types import CloseReason, IssueDraft, IssueFacts, Ref, RepositoryView


def ensure(scope: str, source: str = "/srv/x", branch: str = "main") -> RepositoryView:
    return public_api.ensure_repository(tracker="local", scope=scope, source=source, default_branch=branch)


def new_issue(repository: RepositoryView, title: str = "Title") -> int:
    view = public_api.create_issue(repository_id=repository.id, draft=IssueDraft(title=title))
    return public_api.issue_id(view.ref)


# --- repositories --------------------------------------------------------------------------------------------------


def test_a_repository_is_ensured_once_and_follows_the_arguments(db: None) -> None:
    first = ensure("acme/widgets", "/old", "master")
    second = ensure("acme/widgets", "/new", "main")
    assert second.id == first.id
    assert public_api.get_repository(first.id) == second
    assert (second.source, second.default_branch) == ("/new", "main")
    assert public_api.list_repositories() == [second]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tracker", "jira"),
        ("tracker", "GitHub"),
        ("scope", ""),
        ("scope", "x" * 201),
        ("scope", "a\x00"),
        ("source", ""),
        ("source", "a\nb"),
        ("source", "x" * 1001),
        ("default_branch", ""),
        ("default_branch", "\ud800"),
    ],
)
def test_a_bad_repository_is_refused(db: None, field: str, value: str) -> None:
    good = {"tracker": "local", "scope": "a", "source": "/a", "default_branch": "main"}
    with pytest.raises(InvalidError) as caught:
        public_api.ensure_repository(**{**good, field: value})
    assert caught.value.field == field
    assert Repository.objects.count() == 0


def test_a_repository_is_found_by_scope_source_or_last_part(db: None) -> None:
    widgets = ensure("acme/widgets", "https://git.example/acme/widgets.git")
    tools = ensure("acme/tools", "/srv/git/handy-tools/")
    for name in ("acme/widgets", "widgets", "https://git.example/acme/widgets.git"):
        assert public_api.find_repository(name) == widgets
    for name in ("tools", "handy-tools", "/srv/git/handy-tools/"):
        assert public_api.find_repository(name) == tools
    for name in ("", "acme", "widget", "\x00"):
        assert public_api.find_repository(name) is None


def test_an_ambiguous_name_lists_the_candidates(db: None) -> None:
    exact = ensure("widgets", "/a")
    ensure("acme/widgets", "/b")
    ensure("other/tools", "/c")
    ensure("acme/tools", "/d")
    assert public_api.find_repository("widgets") == exact
    with pytest.raises(InvalidError, match=r"local:other/tools, local:acme/tools"):
        public_api.find_repository("tools")


def test_an_inactive_repository_is_neither_listed_nor_found_until_ensured_again(db: None) -> None:
    view = ensure("acme/widgets")
    Repository.objects.update(is_active=False)
    assert public_api.list_repositories() == []
    assert public_api.find_repository("acme/widgets") is None
    ensure("acme/widgets")
    assert public_api.find_repository("acme/widgets") == view


def test_what_does_not_exist_is_not_found(repository: RepositoryView) -> None:
    readers: list[Callable[[int], object]] = [
        public_api.get_repository,
        public_api.tracker_for,
        public_api.get_issue,
        public_api.parent_id,
        public_api.open_blockers,
        public_api.refresh,
        public_api.reopen_issue,
    ]
    for read in readers:
        with pytest.raises(NotFoundError):
            read(999)
    with pytest.raises(NotFoundError):
        public_api.create_issue(repository_id=999, draft=IssueDraft(title="Title"))
    for ref in (Ref("acme/widgets", "1"), Ref("x", "\x00"), Ref("\ud800", "1")):
        with pytest.raises(NotFoundError):
            public_api.issue_id(ref)


# --- issues --------------------------------------------------------------------------------------------------------


def test_an_operators_issue_reads_back(repository: RepositoryView) -> None:
    draft = IssueDraft(title="Fix it", body="Please", labels=("bug", "agent:ready"))
    view = public_api.create_issue(repository_id=repository.id, draft=draft, author="alice")
    issue_id = public_api.issue_id(view.ref)
    assert public_api.get_issue(issue_id) == view
    assert (view.author, view.labels) == ("alice", ("agent:ready", "bug"))
    public_api.refresh(issue_id)
    assert public_api.get_issue(issue_id) == view


def test_an_operators_dedupe_key_creates_once_and_hides_none_of_our_writes(repository: RepositoryView) -> None:
    draft = IssueDraft(title="Fix it")
    first = public_api.create_issue(repository_id=repository.id, draft=draft, dedupe_key="k")
    again = public_api.create_issue(repository_id=repository.id, draft=draft, dedupe_key="k")
    unkeyed = {public_api.create_issue(repository_id=repository.id, draft=draft).ref for _ in range(2)}
    ours = public_api.tracker_for(repository.id).create(repository.scope, draft, "k")
    assert again == first
    assert len({first.ref, ours.ref, *unkeyed}) == 4


@pytest.mark.parametrize("author", ["agent-grid", "", "two words", "\x00"])
def test_an_author_is_a_person(repository: RepositoryView, author: str) -> None:
    with pytest.raises(InvalidError) as caught:
        public_api.create_issue(repository_id=repository.id, draft=IssueDraft(title="Title"), author=author)
    assert caught.value.field == "author"


def test_the_tree_is_read_by_ids(repository: RepositoryView) -> None:
    parent, a, b = (new_issue(repository, title) for title in ("Parent", "A", "B"))
    tracker = public_api.tracker_for(repository.id)
    refs = {key: public_api.get_issue(key).ref for key in (parent, a, b)}
    tracker.link_child(refs[parent], refs[b])
    tracker.link_child(refs[parent], refs[a])
    tracker.set_blockers(refs[a], {refs[b]})
    assert public_api.children_ids(parent) == [b, a]
    assert (public_api.parent_id(a), public_api.parent_id(parent)) == (parent, None)
    assert public_api.open_blockers(a) == [refs[b]]
    assert public_api.blocker_ids(a) == [b]
    assert public_api.blocked_by([b]) == [a]
    public_api.close_issue(b)
    assert public_api.open_blockers(a) == []
    public_api.reopen_issue(b)
    public_api.close_issue(a, reason=CloseReason.NOT_PLANNED)
    assert public_api.blocked_by([b]) == []


def test_facts_tell_what_keeps_an_issue_from_running(repository: RepositoryView) -> None:
    free, held, taken, ours, blocked, closed = (new_issue(repository, f"Issue {n}") for n in range(6))
    refs = {key: public_api.get_issue(key).ref for key in (free, held, taken, ours, blocked, closed)}
    tracker = public_api.tracker_for(repository.id)
    public_api.set_hold(held, held=True)
    people.set_assignee(ref=refs[taken], login="zoe", present=True)
    people.set_assignee(ref=refs[taken], login="alice", present=True)
    tracker.assign(refs[ours], "agent-grid")
    tracker.set_blockers(refs[blocked], {refs[held], refs[free], refs[closed]})
    public_api.close_issue(closed)

    def facts(*, is_open: bool = True, reason: str = "", blockers: tuple[Ref, ...] = ()) -> IssueFacts:
        return IssueFacts(is_open=is_open, held=bool(reason), hold_reason=reason, open_blockers=blockers)

    assert public_api.facts([*refs, 999]) == {
        free: facts(),
        held: facts(reason="label agent:hold"),
        taken: facts(reason="assigned to alice"),
        ours: facts(),
        blocked: facts(blockers=(refs[free], refs[held])),
        closed: facts(is_open=False),
    }
    public_api.set_hold(held, held=False)
    assert not public_api.facts([held])[held].held


def test_a_hold_counts_whatever_the_case_of_its_label(repository: RepositoryView) -> None:
    issue = new_issue(repository)
    IssueLabel.objects.create(issue_id=issue, name="Agent:Hold")
    assert public_api.facts([issue])[issue].held


def test_blockers_are_listed_as_people_count(repository: RepositoryView) -> None:
    issues = [new_issue(repository, f"Issue {number}") for number in range(12)]
    tracker = public_api.tracker_for(repository.id)
    refs = [public_api.get_issue(issue).ref for issue in issues]
    tracker.set_blockers(refs[0], set(refs[1:]))
    assert public_api.open_blockers(issues[0]) == refs[1:]


def test_bulk_reads_take_a_constant_number_of_queries(
    repository: RepositoryView, django_assert_num_queries: Any
) -> None:
    issues = [new_issue(repository, f"Issue {number}") for number in range(30)]
    tracker = public_api.tracker_for(repository.id)
    refs = [view.ref for view in public_api.get_issues(issues).values()]
    for blocked in refs[10:]:
        tracker.set_blockers(blocked, set(refs[:3]))
    with django_assert_num_queries(2):
        assert len(public_api.facts(issues)) == 30
    with django_assert_num_queries(3):
        assert len(public_api.get_issues(issues)) == 30
    since = public_api.get_issue(issues[0]).created_at
    with django_assert_num_queries(4):
        assert len(tracker.list_changed(repository.scope, since).items) == 30
    assert public_api.facts([]) == {}
    assert public_api.get_issues([]) == {}


def test_more_ids_than_one_statement_takes_are_read(repository: RepositoryView) -> None:
    issue = new_issue(repository)
    many = [*range(10**6, 10**6 + 40_000), issue]
    assert list(public_api.facts(many)) == list(public_api.get_issues(many)) == [issue]


def test_operators_act_on_local_issues_only(repository: RepositoryView) -> None:
    issue = new_issue(repository)
    Repository.objects.update(tracker="github")
    acts: list[Callable[[], object]] = [
        lambda: public_api.create_issue(repository_id=repository.id, draft=IssueDraft(title="Title")),
        lambda: public_api.set_hold(issue, held=True),
        lambda: public_api.close_issue(issue),
        lambda: public_api.reopen_issue(issue),
        lambda: public_api.add_comment(issue, markdown="text"),
    ]
    for act in acts:
        with pytest.raises(ForbiddenError, match="live in github"):
            act()


def test_a_ref_known_to_two_trackers_needs_a_repository(repository: RepositoryView) -> None:
    mirror = ensure("mirror")
    mirrored = new_issue(mirror)
    Repository.objects.filter(pk=mirror.id).update(tracker="github", scope=repository.scope)
    issue = new_issue_by_id(repository)
    ref = Ref(repository.scope, "1")
    with pytest.raises(InvalidError, match="two trackers"):
        public_api.issue_id(ref)
    assert public_api.issue_id(ref, repository_id=repository.id) == issue
    assert public_api.issue_id(ref, repository_id=mirror.id) == mirrored


def new_issue_by_id(repository: RepositoryView) -> int:
    view = public_api.create_issue(repository_id=repository.id, draft=IssueDraft(title="Title"))
    return public_api.issue_id(view.ref, repository_id=repository.id)


def test_a_persons_comment_reads_back(repository: RepositoryView) -> None:
    issue = new_issue(repository)
    comment = public_api.add_comment(issue, markdown="Use **B**\x00", author="alice")
    assert (comment.body, comment.author, comment.is_ours, comment.slot) == ("Use **B**", "alice", False, "")
