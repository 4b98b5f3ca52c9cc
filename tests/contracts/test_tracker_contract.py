"""What any `tracker.base.Tracker` must do with single issues: texts, labels, states, comments, people, listings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.contracts.tracker_worlds import TrackerWorld
from tracker.public_api import text_digest
from tracker.public_errors import ChangedError, InvalidError, NotFoundError
from tracker.public_types import AgentState, CloseReason, IssueDraft, IssueView, Ref, Trust

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def create(world: TrackerWorld, title: str = "Fix the login", **fields: object) -> IssueView:
    draft = IssueDraft(title=title, **fields)
    return world.tracker.create(world.scope, draft, f"key of {title[:20]!r}")


def state_labels(issue: IssueView) -> list[str]:
    return [label for label in issue.labels if label.startswith("agent:") and label != "agent:hold"]


# --- create and get ------------------------------------------------------------------------------------------------


def test_a_created_issue_reads_back(world: TrackerWorld) -> None:
    created = create(world, "Fix the login", body="It *fails*.\n", labels=("bug", "Help wanted"))
    issue = world.tracker.get(created.ref)
    assert issue == created
    assert (issue.title, issue.body.strip(), issue.is_open) == ("Fix the login", "It *fails*.", True)
    assert issue.labels == ("Help wanted", "bug")
    assert issue.close_reason is None
    assert issue.agent_state is AgentState.NONE
    assert issue.ref.scope == world.scope
    assert issue.created_at.tzinfo is not None


def test_a_dedupe_key_creates_once_whatever_the_second_draft_says(world: TrackerWorld) -> None:
    first = world.tracker.create(world.scope, IssueDraft(title="First"), "execution-1:child-1")
    second = world.tracker.create(world.scope, IssueDraft(title="Second"), "execution-1:child-1")
    other = world.tracker.create(world.scope, IssueDraft(title="First"), "execution-1:child-2")
    assert second.ref == first.ref
    assert second.title == "First"
    assert other.ref != first.ref


def test_a_dedupe_key_finds_its_issue_after_it_was_edited_and_closed(world: TrackerWorld) -> None:
    first = world.tracker.create(world.scope, IssueDraft(title="First"), "key")
    world.tracker.close(first.ref, CloseReason.COMPLETED)
    assert world.tracker.create(world.scope, IssueDraft(title="First"), "key").ref == first.ref


def test_an_edit_replaces_the_texts_and_the_issue_is_still_found_by_its_key(world: TrackerWorld) -> None:
    first = world.tracker.create(world.scope, IssueDraft(title="First", body="Old text"), "key")
    for _ in range(2):
        answered = world.tracker.edit(first.ref, title="  Second ", body="New *text*.")
        assert (answered.title, answered.body.strip()) == ("Second", "New *text*.")
    issue = world.tracker.get(first.ref)
    assert (issue.title, issue.body.strip(), issue.is_open) == ("Second", "New *text*.", True)
    assert world.tracker.create(world.scope, IssueDraft(title="First"), "key").ref == first.ref
    world.tracker.edit(first.ref, title="Third", body="")
    assert world.tracker.get(first.ref).body.strip() == ""


def test_an_edit_of_other_texts_than_these_is_refused(world: TrackerWorld) -> None:
    first = create(world, "First", body="text \n")
    was = text_digest(title="First", body="text")
    for _ in range(2):  # repeated after a lost answer
        assert world.tracker.edit(first.ref, title="Second", body="words", was=was).title == "Second"
    with pytest.raises(ChangedError, match="somebody has changed the texts"):
        world.tracker.edit(first.ref, title="Third", body="words", was=was)
    issue = world.tracker.get(first.ref)
    assert (issue.title, issue.body.strip()) == ("Second", "words")


def test_an_edit_keeps_the_limits_of_texts(world: TrackerWorld) -> None:
    first = create(world, "First", body="text")
    for title, body, field in (("", "x", "title"), ("x" * 257, "x", "title"), ("x", "x" * 65_537, "body")):
        with pytest.raises(InvalidError) as caught:
            world.tracker.edit(first.ref, title=title, body=body)
        assert caught.value.field == field
    assert world.tracker.get(first.ref).title == "First"


def test_a_person_s_issue_is_edited_without_a_line_of_ours(world: TrackerWorld) -> None:
    ref = world.person_opens(title="Theirs", author="alice")
    world.tracker.edit(ref, title="Theirs", body="by the plan")
    assert world.tracker.get(ref).body == "by the plan"


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00b", "two\nlines", "\ud800"])
def test_a_bad_dedupe_key_is_refused(world: TrackerWorld, key: str) -> None:
    with pytest.raises(InvalidError) as caught:
        world.tracker.create(world.scope, IssueDraft(title="Title"), key)
    assert caught.value.field == "dedupe_key"


@pytest.mark.parametrize("title", ["", "   ", "\x00\x07", "x" * 257])
def test_a_title_is_one_to_256_visible_characters(world: TrackerWorld, title: str) -> None:
    with pytest.raises(InvalidError) as caught:
        world.tracker.create(world.scope, IssueDraft(title=title), "key")
    assert caught.value.field == "title"
    assert world.tracker.list_changed(world.scope, LONG_AGO).items == ()


def test_texts_up_to_the_limit_pass(world: TrackerWorld) -> None:
    issue = create(world, "x" * 256, body="é" * 65_000)
    assert len(issue.title) == 256
    assert issue.body.count("é") == 65_000


def test_a_body_over_the_limit_is_refused(world: TrackerWorld) -> None:
    with pytest.raises(InvalidError) as caught:
        create(world, body="x" * 65_537)
    assert caught.value.field == "body"


def test_hostile_texts_are_stored_without_control_characters(world: TrackerWorld) -> None:
    issue = create(
        world,
        "  Drop\r\ntable\x00 <script>alert(1)</script> '; -- \x1b[31m \ud800 ",
        body="a\x00b\r\nc\rd\te\x1b[0m\x85\udfff <img src=x onerror=alert(1)> {{ secret }} 🎉",
    )
    assert issue.title == "Drop table <script>alert(1)</script> '; -- [31m \ufffd"
    assert issue.body.rstrip("\n") == "ab\nc\nd\te[0m\ufffd <img src=x onerror=alert(1)> {{ secret }} 🎉"
    assert world.tracker.get(issue.ref) == issue


@pytest.mark.parametrize(
    "labels", [("x" * 51,), ("",), tuple(f"label {number}" for number in range(101))], ids=["long", "empty", "many"]
)
def test_bad_labels_are_refused(world: TrackerWorld, labels: tuple[str, ...]) -> None:
    with pytest.raises(InvalidError) as caught:
        create(world, labels=labels)
    assert caught.value.field == "labels"


def test_a_label_counts_once_whatever_its_case(world: TrackerWorld) -> None:
    assert create(world, labels=("bug", "Bug", "bug ")).labels == ("bug",)


@pytest.mark.parametrize(
    "key", ["999999", "0", "-1", "1.0", "abc", "", "1\x00", "\uff11", "9" * 40, "01", "\ud800", "x" * 9999]
)
def test_an_issue_that_cannot_exist_is_not_found(world: TrackerWorld, key: str) -> None:
    create(world)
    ref = Ref(world.scope, key)
    tracker = world.tracker
    for read in (tracker.get, tracker.children, tracker.parent, tracker.blockers, tracker.comments):
        with pytest.raises(NotFoundError):
            read(ref)
    with pytest.raises(NotFoundError):
        tracker.set_state(ref, AgentState.READY)
    with pytest.raises(NotFoundError):
        tracker.close(ref, CloseReason.COMPLETED)
    with pytest.raises(NotFoundError):
        tracker.assign(ref, "alice")
    with pytest.raises(NotFoundError):
        tracker.react(ref, "eyes")
    with pytest.raises(NotFoundError):
        tracker.reopen(ref)
    with pytest.raises(NotFoundError):
        tracker.set_label(ref, "bug", present=True)


@pytest.mark.parametrize("scope", ["", "acme/other", "acme/widgets\x00", "../../etc", "\ud800", "x" * 9999])
def test_a_repository_that_cannot_exist_is_not_found(world: TrackerWorld, scope: str) -> None:
    with pytest.raises(NotFoundError):
        world.tracker.get(Ref(scope, "1"))
    with pytest.raises(NotFoundError):
        world.tracker.create(scope, IssueDraft(title="Title"), "key")
    with pytest.raises(NotFoundError):
        world.tracker.list_changed(scope, LONG_AGO)
    with pytest.raises(NotFoundError):
        world.tracker.permission(scope, "alice")


# --- states, closing -----------------------------------------------------------------------------------------------


def test_exactly_one_state_label_is_shown(world: TrackerWorld) -> None:
    ref = create(world, labels=("bug",)).ref
    for state in (AgentState.READY, AgentState.RUNNING, AgentState.RUNNING, AgentState.WAITING, AgentState.BLOCKED):
        world.tracker.set_state(ref, state)
        issue = world.tracker.get(ref)
        assert issue.agent_state is state
        assert state_labels(issue) == [f"agent:{state}"]
        assert "bug" in issue.labels
    world.tracker.set_state(ref, AgentState.NONE)
    assert world.tracker.get(ref).labels == ("bug",)


def test_of_two_state_labels_in_a_draft_the_furthest_wins(world: TrackerWorld) -> None:
    issue = create(world, labels=("agent:running", "agent:ready", "bug"))
    assert issue.agent_state is AgentState.RUNNING
    assert issue.labels == ("agent:running", "bug")


def test_closing_keeps_the_reason_and_takes_the_state_label_away(world: TrackerWorld) -> None:
    ref = create(world).ref
    world.tracker.set_state(ref, AgentState.RUNNING)
    world.tracker.close(ref, CloseReason.NOT_PLANNED)
    issue = world.tracker.get(ref)
    assert (issue.is_open, issue.close_reason) == (False, CloseReason.NOT_PLANNED)
    assert state_labels(issue) == []


def test_closing_again_changes_nothing(world: TrackerWorld) -> None:
    ref = create(world).ref
    world.tracker.close(ref, CloseReason.NOT_PLANNED)
    closed = world.tracker.get(ref)
    world.tracker.close(ref, CloseReason.COMPLETED)
    assert world.tracker.get(ref) == closed


def test_a_closed_issue_shows_no_state(world: TrackerWorld) -> None:
    ref = create(world).ref
    world.tracker.close(ref, CloseReason.COMPLETED)
    world.tracker.set_state(ref, AgentState.RUNNING)
    assert world.tracker.get(ref).agent_state is AgentState.NONE


def test_a_reopened_issue_is_open_without_a_reason(world: TrackerWorld) -> None:
    ref = create(world).ref
    world.tracker.close(ref, CloseReason.COMPLETED)
    world.person_reopens(ref)
    issue = world.tracker.get(ref)
    assert (issue.is_open, issue.close_reason) == (True, None)


def test_reopening_is_done_once_and_shows_no_state(world: TrackerWorld) -> None:
    ref = create(world, labels=("bug",)).ref
    world.tracker.set_state(ref, AgentState.REVIEW)
    world.tracker.close(ref, CloseReason.NOT_PLANNED)
    for _ in range(2):
        world.tracker.reopen(ref)
        issue = world.tracker.get(ref)
        assert (issue.is_open, issue.close_reason, issue.labels) == (True, None, ("bug",))
    world.tracker.set_state(ref, AgentState.READY)
    assert world.tracker.get(ref).agent_state is AgentState.READY


def test_reopening_an_open_issue_changes_nothing(world: TrackerWorld) -> None:
    issue = create(world)
    world.tracker.reopen(issue.ref)
    assert world.tracker.get(issue.ref) == issue


# --- labels --------------------------------------------------------------------------------------------------------


def test_a_label_is_put_on_and_taken_off_whatever_its_case(world: TrackerWorld) -> None:
    ref = create(world, labels=("bug",)).ref
    world.tracker.set_state(ref, AgentState.WAITING)
    for name in ("agent:hold", "Agent:Hold", "help wanted"):
        world.tracker.set_label(ref, name, present=True)
    assert world.tracker.get(ref).labels == ("agent:hold", "agent:waiting", "bug", "help wanted")
    for name in ("AGENT:HOLD", "agent:hold", "never there"):
        world.tracker.set_label(ref, name, present=False)
    assert world.tracker.get(ref).labels == ("agent:waiting", "bug", "help wanted")


def test_a_label_that_is_so_already_changes_nothing(world: TrackerWorld) -> None:
    issue = create(world, labels=("bug",))
    world.tracker.set_label(issue.ref, "Bug", present=True)
    world.tracker.set_label(issue.ref, "agent:hold", present=False)
    assert world.tracker.get(issue.ref) == issue


@pytest.mark.parametrize(
    ("name", "field"), [("", "labels"), ("x" * 51, "labels"), ("agent:running", "name"), ("Agent:Ready", "name")]
)
def test_a_state_or_a_bad_name_is_no_label_to_set(world: TrackerWorld, name: str, field: str) -> None:
    ref = create(world).ref
    for present in (True, False):
        with pytest.raises(InvalidError) as caught:
            world.tracker.set_label(ref, name, present=present)
        assert caught.value.field == field
    assert world.tracker.get(ref).labels == ()


# --- people --------------------------------------------------------------------------------------------------------


def test_a_hold_and_assigned_people_can_be_read(world: TrackerWorld) -> None:
    ref = world.person_opens(title="Mine", author="alice")
    world.person_labels(ref, "agent:hold")
    world.person_assigns(ref, "alice")
    world.tracker.set_state(ref, AgentState.WAITING)
    issue = world.tracker.get(ref)
    assert issue.labels == ("agent:hold", "agent:waiting")
    assert issue.assignees == ("alice",)
    assert issue.author == "alice"
    world.person_labels(ref, "agent:hold", present=False)
    assert world.tracker.get(ref).labels == ("agent:waiting",)


def test_permissions_are_those_of_the_tracker_and_strangers_have_none(world: TrackerWorld) -> None:
    wanted = {"adam": Trust.ADMIN, "alice": Trust.WRITE, "rita": Trust.READ, "gone": Trust.NONE, "stranger": Trust.NONE}
    assert {login: world.tracker.permission(world.scope, login) for login in wanted} == wanted
    for hostile in ("", "\x00", "\ud800", "alice\n", "ALICE' --", "x" * 9999):
        assert world.tracker.permission(world.scope, hostile) is Trust.NONE


def test_assigning_adds_a_person_once(world: TrackerWorld) -> None:
    ref = create(world).ref
    assert world.tracker.assign(ref, "alice")
    assert world.tracker.assign(ref, "alice")
    assert world.tracker.assign(ref, "rita")
    assert world.tracker.get(ref).assignees == ("alice", "rita")


def test_assigning_a_stranger_is_dropped(world: TrackerWorld) -> None:
    ref = create(world).ref
    assert not world.tracker.assign(ref, "stranger")
    assert world.tracker.get(ref).assignees == ()


# --- comments and reactions ----------------------------------------------------------------------------------------


def test_a_slot_holds_one_comment_edited_in_place(world: TrackerWorld) -> None:
    ref = create(world).ref
    first = world.tracker.upsert_comment(ref, "status", {"seq": 1}, "Running")
    second = world.tracker.upsert_comment(ref, "status", {"seq": 2}, "Waiting")
    other = world.tracker.upsert_comment(ref, "question-1", {}, "Which one?")
    assert second.id == first.id != other.id
    status, question = world.tracker.comments(ref)
    assert ("Waiting" in status.body, status.slot, status.is_ours) == (True, "status", True)
    assert status.edited_at is not None
    assert question.slot == "question-1"


def test_writing_the_same_comment_again_is_no_edit(world: TrackerWorld) -> None:
    ref = create(world).ref
    first = world.tracker.upsert_comment(ref, "status", {"seq": 1, "plan": ["a", None, 1.5]}, "Running")
    world.tracker.upsert_comment(ref, "status", {"seq": 1, "plan": ["a", None, 1.5]}, "Running")
    assert world.tracker.comments(ref) == [first]


def test_a_late_comment_is_dropped(world: TrackerWorld) -> None:
    ref = create(world).ref
    world.tracker.upsert_comment(ref, "status", {"seq": 5}, "Waiting")
    late = world.tracker.upsert_comment(ref, "status", {"seq": 4}, "Running")
    assert "Waiting" in late.body
    assert ["Waiting" in comment.body for comment in world.tracker.comments(ref)] == [True]


def test_a_person_cannot_take_a_slot(world: TrackerWorld) -> None:
    ref = create(world).ref
    ours = world.tracker.upsert_comment(ref, "status", {"seq": 1}, "Running")
    theirs = world.person_comments(ref, author="alice", text=ours.body)
    assert (theirs.slot, theirs.is_ours, theirs.author) == ("", False, "alice")
    assert world.tracker.upsert_comment(ref, "status", {"seq": 2}, "Waiting").id == ours.id


@pytest.mark.parametrize("slot", ["", "Status", "a b", "-a", "x" * 41, "a\x00", "ä"])
def test_a_bad_slot_is_refused(world: TrackerWorld, slot: str) -> None:
    with pytest.raises(InvalidError) as caught:
        world.tracker.upsert_comment(create(world).ref, slot, {}, "text")
    assert caught.value.field == "slot"


@pytest.mark.parametrize("data", [{"a": "x" * 9_000}, {"a": float("nan")}, {"a": {1}}, {1: "a"}])
def test_data_that_is_no_small_json_object_is_refused(world: TrackerWorld, data: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        world.tracker.upsert_comment(create(world).ref, "status", data, "text")


def test_comments_have_the_limits_of_bodies(world: TrackerWorld) -> None:
    ref = create(world).ref
    world.tracker.upsert_comment(ref, "status", {"note": "nul \x00 and \ud800 -->"}, "x" * 60_000 + "\x00")
    (comment,) = world.tracker.comments(ref)
    assert comment.body.count("x") >= 60_000
    assert "\x00" not in comment.body
    with pytest.raises(InvalidError) as caught:
        world.tracker.upsert_comment(ref, "status", {}, "x" * 65_537)
    assert caught.value.field == "markdown"


def test_comments_come_oldest_first_and_since_finds_edits(world: TrackerWorld) -> None:
    ref = create(world).ref
    status = world.tracker.upsert_comment(ref, "status", {"seq": 1}, "Running")
    later = world.person_comments(ref, author="alice", text="Good")
    assert [comment.id for comment in world.tracker.comments(ref)] == [status.id, later.id]
    edited = world.tracker.upsert_comment(ref, "status", {"seq": 2}, "Waiting")
    assert edited.edited_at is not None
    assert [comment.id for comment in world.tracker.comments(ref, since=edited.edited_at)] == [status.id]
    assert world.tracker.comments(ref, since=edited.edited_at + timedelta(hours=1)) == []


def test_a_reaction_counts_once(world: TrackerWorld) -> None:
    ref = create(world).ref
    comment = world.person_comments(ref, author="alice", text="/agent run")
    for _ in range(2):
        world.tracker.react(ref, "eyes")
        world.tracker.react(ref, "rocket", comment.id)
    assert world.reactions(ref) == ["eyes", "rocket"]


def test_bad_reactions_are_refused(world: TrackerWorld) -> None:
    ref = create(world, "One").ref
    elsewhere = world.person_comments(create(world, "Two").ref, author="alice", text="Hello")
    with pytest.raises(InvalidError) as caught:
        world.tracker.react(ref, "applause")
    assert caught.value.field == "kind"
    for comment_id in (elsewhere.id, "999999999", "abc", "1\x00"):
        with pytest.raises(NotFoundError):
            world.tracker.react(ref, "eyes", comment_id)
    assert world.reactions(ref) == []


# --- listing -------------------------------------------------------------------------------------------------------


def test_changed_issues_are_listed_longest_unchanged_first(world: TrackerWorld) -> None:
    first, second = create(world, "First"), create(world, "Second")
    world.tracker.close(first.ref, CloseReason.COMPLETED)
    page = world.tracker.list_changed(world.scope, LONG_AGO)
    assert [issue.ref for issue in page.items] == [second.ref, first.ref]
    assert page.cursor is None
    since = world.tracker.get(first.ref).updated_at
    assert [issue.ref for issue in world.tracker.list_changed(world.scope, since).items] == [first.ref]
    assert world.tracker.list_changed(world.scope, since + timedelta(hours=1)).items == ()


def test_every_kind_of_change_moves_an_issue_to_the_end_of_the_listing(world: TrackerWorld) -> None:
    ref, other = create(world, "First").ref, create(world, "Second").ref
    tracker = world.tracker
    acts: list[Callable[[], object]] = [
        lambda: tracker.set_state(ref, AgentState.READY),
        lambda: tracker.upsert_comment(ref, "status", {}, "text"),
        lambda: tracker.upsert_comment(ref, "status", {}, "another text"),
        lambda: tracker.set_blockers(ref, {other}),
        lambda: tracker.link_child(ref, create(world, "Child").ref),
        lambda: tracker.assign(ref, "alice"),
        lambda: world.person_labels(ref, "agent:hold"),
        lambda: world.person_edits(ref, title="New", body="New"),
        lambda: tracker.close(ref, CloseReason.COMPLETED),
        lambda: world.person_reopens(ref),
    ]
    for act in acts:
        world.person_edits(other, title="Something", body="else")
        act()
        items = tracker.list_changed(world.scope, LONG_AGO).items
        # A link changes the issue at its other end too, in the same moment.
        assert ref in [issue.ref for issue in items if issue.updated_at == items[-1].updated_at]


def test_a_long_listing_comes_in_pages_without_gap_or_repeat(world: TrackerWorld) -> None:
    refs = [create(world, f"Issue {number}").ref for number in range(205)]
    seen: list[Ref] = []
    cursor = None
    pages = 0
    while cursor is not None or not pages:
        page = world.tracker.list_changed(world.scope, LONG_AGO, cursor)
        seen.extend(issue.ref for issue in page.items)
        cursor, pages = page.cursor, pages + 1
    assert sorted(seen, key=lambda ref: int(ref.key)) == refs
    assert 1 < pages < 10


@pytest.mark.parametrize(
    "cursor", ["", "x", "2026-01-01", "2026-01-01T00:00:00+00:00 x", "2026-01-01T00:00:00 1", "\x00"]
)
def test_a_foreign_cursor_is_refused(world: TrackerWorld, cursor: str) -> None:
    with pytest.raises(InvalidError) as caught:
        world.tracker.list_changed(world.scope, LONG_AGO, cursor)
    assert caught.value.field == "cursor"
