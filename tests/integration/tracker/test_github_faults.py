"""Every write of the GitHub tracker, with every fault at each of its requests in turn: once tried again, done once."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db.models import F
from pytest_django import Settings

from tracker import public_api
from tracker.fake_github import FakeGithub
from tracker.fake_github.faults import Fault
from tracker.github.tracker import GithubTracker
from tracker.models import Comment, Creation, Issue, Quota, Repository
from tracker.public_errors import ConflictError, RateLimitedError, UnavailableError
from tracker.public_types import AgentState, CloseReason, IssueDraft, Ref

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
FOR_NOW = (RateLimitedError, UnavailableError, ConflictError)
LOST = [("502", "after"), ("disconnect", "after")]
REFUSED = [("403-secondary", "before"), ("403-primary", "before"), ("429", "before")]
_names = itertools.count(1)


@dataclass(slots=True, kw_only=True)
class AtRequest(Fault):
    """A fault that lets some requests pass first."""

    passing: int = 0

    def fits(self, method: str, path: str) -> bool:
        if not Fault.fits(self, method, path):
            return False
        self.passing -= 1
        return self.passing < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A fresh repository with what the writes need."""

    server: FakeGithub
    repository: Repository
    issue: Ref
    other: Ref
    third: Ref
    comment: str

    @property
    def tracker(self) -> GithubTracker:
        """A new one, as after a restart."""
        return GithubTracker(self.repository)

    @property
    def alice(self) -> Any:
        return self.server.world.act("alice", self.repository.scope)

    def shown(self, ref: Ref) -> dict[str, Any]:
        found: dict[str, Any] = self.alice.issue(int(ref.key))
        return found

    def labels(self, ref: Ref) -> list[str]:
        return sorted(label["name"] for label in self.shown(ref)["labels"])

    def bot_comments(self) -> list[str]:
        comments = self.alice.comments(int(self.issue.key))
        return [comment["body"] for comment in comments if comment["user"]["login"] == "agent-bot"]

    def reactions(self, path: str) -> list[str]:
        return [reaction["content"] for reaction in self.alice.api("GET", f"{path}/reactions")]

    def row(self, ref: Ref) -> Issue:
        return Issue.objects.get(repository=self.repository, key=ref.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A write, what has to be there before, and what must be there afterwards."""

    write: Callable[[Place], object]
    check: Callable[[Place], None]
    prepare: tuple[Callable[[Place], object], ...] = ()


def git(folder: Path, *words: str) -> str:
    name = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    return subprocess.run(
        ["git", *name, "--git-dir", folder, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def server(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[FakeGithub]:
    cache.clear()
    name = request.node.callspec.params.get("name", "") if hasattr(request.node, "callspec") else ""
    needs_git = name in CASES and make_branch in CASES[name].prepare  # several processes for each repository
    with FakeGithub.start(git_root=tmp_path if needs_git else None) as started:
        started.world.add_token("the-bots-token", "agent-bot")
        settings.TRACKER_GITHUB_API_URL = started.url
        settings.TRACKER_GITHUB_APP_ID = ""
        settings.TRACKER_GITHUB_TOKEN = "the-bots-token"
        settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = 0
        yield started
    cache.clear()


def make_place(server: FakeGithub, case: Case) -> Place:
    world, scope = server.world, f"acme/widgets-{next(_names)}"
    world.faults.clear()
    files = {"app.txt": "one\n"} if world.git_root else None
    world.add_repository(scope, {"alice": "admin", "agent-bot": "write"}, files=files)
    alice = world.act("alice", scope)
    numbers = [alice.open_issue(title) for title in ("One", "Two", "Three")]
    view = public_api.ensure_repository(tracker="github", scope=scope, source="x", default_branch="main")
    place = Place(
        server=server,
        repository=Repository.objects.get(pk=view.id),
        issue=Ref(scope, str(numbers[0])),
        other=Ref(scope, str(numbers[1])),
        third=Ref(scope, str(numbers[2])),
        comment=str(alice.comment(numbers[0], "/agent run")),
    )
    for ref in (place.issue, place.other, place.third):
        public_api.tracker_for(view.id).comments(ref)  # makes our rows
    for step in case.prepare:
        step(place)
    return place


def time_passes() -> None:
    Quota.objects.all().delete()
    Issue.objects.update(written_at=F("written_at") - timedelta(minutes=5))
    for creation in Creation.objects.all():
        creation.attempted_at -= timedelta(minutes=5)
        creation.save()


def until_done(place: Place, case: Case) -> None:
    for _ in range(6):
        try:
            case.write(place)
        except FOR_NOW:
            time_passes()
        else:
            break
    else:
        pytest.fail("never done")
    case.check(place)
    case.write(place)
    case.check(place)
    assert not Creation.objects.filter(repository=place.repository).exists()


# --- the writes ----------------------------------------------------------------------------------------------------


def make_branch(place: Place) -> None:
    folder = place.server.world.git_root / f"{place.repository.scope}.git"
    commit = git(folder, "commit-tree", "main^{tree}", "-p", "main", "-m", "Work")
    git(folder, "update-ref", "refs/heads/agent/1-one", commit)


def open_change(place: Place, text: str = "Closes #1") -> Ref:
    return place.tracker.open_change(place.issue, head="agent/1-one", base="main", title="One", body=text)


def check_created(place: Place) -> None:
    issues = place.alice.api("GET", "/issues", state="all")
    assert [issue["title"] for issue in issues].count("New") == 1
    (row,) = Issue.objects.filter(repository=place.repository, dedupe_key="key")
    assert (row.title, row.body, row.author) == ("New", "Do it.", "agent-bot")


def check_children(*wanted: str) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        refs = [getattr(place, name) for name in wanted]
        assert place.alice.sub_issues(int(place.issue.key)) == [int(ref.key) for ref in refs]
        assert public_api.children_ids(place.row(place.issue).pk) == [place.row(ref).pk for ref in refs]

    return check


def check_middle_child(place: Place) -> None:
    numbers = place.alice.sub_issues(int(place.issue.key))
    assert numbers[:2] == [int(place.other.key), int(place.third.key)]
    assert len(numbers) == 3


def check_blockers(place: Place) -> None:
    assert place.alice.blockers(int(place.issue.key)) == [int(place.third.key)]
    assert public_api.open_blockers(place.row(place.issue).pk) == [place.third]


def check_labels(*wanted: str, state: AgentState = AgentState.NONE) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        assert place.labels(place.issue) == sorted(wanted)
        assert place.row(place.issue).agent_state == state

    return check


def check_comment(text: str) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        (body,) = place.bot_comments()
        assert body.endswith(f"-->\n{text}")
        (row,) = Comment.objects.filter(issue=place.row(place.issue), slot="status")
        assert row.body == text

    return check


def check_closed(place: Place) -> None:
    shown, row = place.shown(place.issue), place.row(place.issue)
    assert (shown["state"], shown["state_reason"], place.labels(place.issue)) == ("closed", "not_planned", [])
    assert (row.is_open, row.close_reason, row.agent_state) == (False, "not_planned", "")


def check_open(place: Place) -> None:
    assert place.shown(place.issue)["state"] == "open"
    assert place.row(place.issue).is_open


def check_assigned(place: Place) -> None:
    assert [person["login"] for person in place.shown(place.issue)["assignees"]] == ["alice"]
    assert place.row(place.issue).assignees.get().login == "alice"


def check_reacted(path: Callable[[Place], str]) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        assert place.reactions(path(place)) == ["eyes"]

    return check


def check_change(*, text: str, is_draft: bool) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        (pull,) = place.alice.pulls()
        assert (pull["title"], pull["draft"], pull["state"]) == ("One", is_draft, "open")
        assert text in pull["body"]
        assert pull["body"].count("agent-grid:begin") == 1
        (row,) = place.repository.changes.all()
        assert (row.key, row.is_draft, row.is_ours) == (str(pull["number"]), is_draft, True)

    return check


CASES = {
    "create": Case(
        write=lambda place: place.tracker.create(
            place.repository.scope, IssueDraft(title="New", body="Do it.", labels=("agent:ready", "bug")), "key"
        ),
        check=check_created,
    ),
    "link_child": Case(
        prepare=(lambda place: place.tracker.link_child(place.issue, place.other),),
        write=lambda place: place.tracker.link_child(place.issue, place.third),
        check=check_children("other", "third"),
    ),
    "link_child after": Case(
        prepare=(
            lambda place: place.tracker.link_child(place.issue, place.other),
            lambda place: place.alice.add_sub_issue(int(place.issue.key), place.alice.open_issue("Four")),
        ),
        write=lambda place: place.tracker.link_child(place.issue, place.third, after=place.other),
        check=check_middle_child,
    ),
    "set_blockers": Case(
        prepare=(lambda place: place.tracker.set_blockers(place.issue, {place.other}),),
        write=lambda place: place.tracker.set_blockers(place.issue, {place.third}),
        check=check_blockers,
    ),
    "set_state": Case(
        prepare=(
            lambda place: place.alice.add_label(int(place.issue.key), "bug"),
            lambda place: place.tracker.set_state(place.issue, AgentState.READY),
        ),
        write=lambda place: place.tracker.set_state(place.issue, AgentState.RUNNING),
        check=check_labels("agent:running", "bug", state=AgentState.RUNNING),
    ),
    "upsert_comment new": Case(
        write=lambda place: place.tracker.upsert_comment(place.issue, "status", {"seq": 1}, "Running"),
        check=check_comment("Running"),
    ),
    "upsert_comment edit": Case(
        prepare=(lambda place: place.tracker.upsert_comment(place.issue, "status", {"seq": 1}, "Running"),),
        write=lambda place: place.tracker.upsert_comment(place.issue, "status", {"seq": 2}, "Waiting"),
        check=check_comment("Waiting"),
    ),
    "react": Case(
        write=lambda place: place.tracker.react(place.issue, "eyes"),
        check=check_reacted(lambda place: f"/issues/{place.issue.key}"),
    ),
    "react to a comment": Case(
        write=lambda place: place.tracker.react(place.issue, "eyes", place.comment),
        check=check_reacted(lambda place: f"/issues/comments/{place.comment}"),
    ),
    "assign": Case(write=lambda place: place.tracker.assign(place.issue, "alice"), check=check_assigned),
    "close": Case(
        prepare=(lambda place: place.tracker.set_state(place.issue, AgentState.RUNNING),),
        write=lambda place: place.tracker.close(place.issue, CloseReason.NOT_PLANNED),
        check=check_closed,
    ),
    "reopen": Case(
        prepare=(lambda place: place.tracker.close(place.issue, CloseReason.COMPLETED),),
        write=lambda place: place.tracker.reopen(place.issue),
        check=check_open,
    ),
    "set_label on": Case(
        write=lambda place: place.tracker.set_label(place.issue, "agent:hold", present=True),
        check=check_labels("agent:hold"),
    ),
    "set_label off": Case(
        prepare=(lambda place: place.alice.add_label(int(place.issue.key), "agent:hold"),),
        write=lambda place: place.tracker.set_label(place.issue, "agent:hold", present=False),
        check=check_labels(),
    ),
    "open_change": Case(prepare=(make_branch,), write=open_change, check=check_change(text="Closes #1", is_draft=True)),
    "open_change again": Case(
        prepare=(make_branch, open_change),
        write=lambda place: open_change(place, "Closes #1, better"),
        check=check_change(text="Closes #1, better", is_draft=True),
    ),
    "mark_ready": Case(
        prepare=(make_branch, open_change),
        write=lambda place: place.tracker.mark_ready(place.issue, head="agent/1-one"),
        check=check_change(text="Closes #1", is_draft=False),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_at_any_request_leaves_one_effect(server: FakeGithub, name: str) -> None:
    case = CASES[name]
    place = make_place(server, case)
    before = len(server.traffic)
    case.write(place)
    methods = [entry[0] for entry in list(server.traffic)[before:]]
    case.check(place)
    assert set(methods) - {"GET"}, "the case writes nothing"
    for number, method in enumerate(methods):
        # Every kind of refusal has its turn over the cases; they all end in the same error of ours.
        refusal = REFUSED[(number + len(name)) % len(REFUSED)]
        for kind, when in [refusal] if method == "GET" else [("502", "before"), *LOST, refusal]:
            place = make_place(server, case)
            server.world.faults.append(AtRequest(kind=kind, when=when, passing=number, retry_after=3))
            until_done(place, case)
            assert server.world.faults[0].fired, f"{kind} {when} never hit request {number}"


@pytest.mark.parametrize("name", CASES)
def test_a_lost_answer_and_then_listings_that_lag_leave_one_effect(server: FakeGithub, name: str) -> None:
    case = CASES[name]
    place = make_place(server, case)
    before = len(server.traffic)
    case.write(place)
    methods = [entry[0] for entry in list(server.traffic)[before:]]
    for number in [number for number, method in enumerate(methods) if method != "GET"]:
        place = make_place(server, case)
        lagging = Fault(kind="stale", times=0)  # planned, so that the fake remembers the world before the write
        server.world.faults += [AtRequest(kind="502", when="after", passing=number), lagging]
        lagging.times = 1
        lagging.path = "^never$"
        attempt(place, case)
        lagging.path, lagging.times = "", 100
        attempt(place, case)
        server.world.faults.clear()
        until_done(place, case)


@pytest.mark.parametrize("name", ["create", "upsert_comment new", "open_change"])
def test_an_answer_that_never_comes_leaves_one_effect(server: FakeGithub, settings: Settings, name: str) -> None:
    case = CASES[name]
    place = make_place(server, case)
    before = len(server.traffic)
    case.write(place)
    posts = [number for number, entry in enumerate(list(server.traffic)[before:]) if entry[0] == "POST"]
    assert posts
    for number, when in itertools.product(posts, ("before", "after")):
        place = make_place(server, case)
        settings.TRACKER_GITHUB_TIMEOUT_SECONDS = 0.3
        fault = AtRequest(kind="timeout", when=when, passing=number, seconds=0.6)
        server.world.faults.append(fault)
        with pytest.raises(UnavailableError, match="did not answer") as caught:
            case.write(place)
        assert fault.fired == 1 and caught.value.maybe_applied
        settings.TRACKER_GITHUB_TIMEOUT_SECONDS = 10
        time_passes()
        until_done(place, case)


def attempt(place: Place, case: Case) -> None:
    try:
        case.write(place)
    except FOR_NOW:
        Quota.objects.all().delete()


@pytest.mark.parametrize("name", CASES)
def test_repeating_a_write_that_reads_cannot_see_yet_leaves_one_effect(server: FakeGithub, name: str) -> None:
    case = CASES[name]
    place = make_place(server, case)
    lagging = Fault(kind="stale", path="^never$", times=100)
    server.world.faults.append(lagging)
    case.write(place)
    lagging.path = ""
    attempt(place, case)
    server.world.faults.clear()
    until_done(place, case)


# --- creations -----------------------------------------------------------------------------------------------------


def create(place: Place, key: str = "key") -> str:
    draft = IssueDraft(title="New", body="Do it.")
    return place.tracker.create(place.repository.scope, draft, key).ref.key


def test_nothing_is_created_again_before_listings_have_caught_up(server: FakeGithub) -> None:
    place = make_place(server, CASES["create"])
    server.world.faults.append(Fault(kind="502", method="POST", when="before", path="/issues$"))
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            create(place)
        assert caught.value.maybe_applied
    time_passes()
    create(place)
    check_created(place)


def test_a_refused_creation_is_tried_again_at_once(server: FakeGithub) -> None:
    place = make_place(server, CASES["create"])
    server.world.faults.append(Fault(kind="429", method="POST", when="before", path="/issues$", retry_after=60))
    with pytest.raises(RateLimitedError):
        create(place)
    Quota.objects.all().delete()
    create(place)
    check_created(place)


@pytest.mark.parametrize("forger", ["alice", "agent-bot"])
def test_a_killed_creation_is_found_by_our_signature_alone(server: FakeGithub, forger: str) -> None:
    place = make_place(server, CASES["create"])
    key = create(place)
    body = place.shown(Ref(place.repository.scope, key))["body"]
    # A person who copies our line gets no issue taken for ours; nor does a line that we have not signed.
    forged = body if forger == "alice" else body.replace(body[-36:-4], "0" * 32)
    server.world.act(forger, place.repository.scope).open_issue("Forged", forged)
    row = Issue.objects.get(repository=place.repository, dedupe_key="key")
    Issue.objects.filter(pk=row.pk).update(dedupe_key="")
    Creation.objects.create(
        repository=place.repository, name="issue:key", since=row.created_at, attempted_at=row.created_at
    )
    assert create(place) == key
    assert create(place, "another key") != key


def test_a_comment_of_ours_is_found_again_without_our_rows(server: FakeGithub) -> None:
    case = CASES["upsert_comment edit"]
    place = make_place(server, case)
    Comment.objects.all().delete()
    until_done(place, case)


def test_a_place_is_what_it_says(server: FakeGithub) -> None:
    place = make_place(server, replace(CASES["create"]))
    assert place.bot_comments() == []
    assert place.labels(place.issue) == []
