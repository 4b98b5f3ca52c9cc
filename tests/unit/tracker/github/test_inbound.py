"""What a webhook's bytes decide, over any bytes."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.github import hints, inbound, payloads
from tracker.github.inbound import BODY_MAX_BYTES, InboundError
from tracker.public_types import Hint, HintKind

SECRET, OLD = "the secret of now", "the one before"
HEADERS = {
    "x-github-event": "issues",
    "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "content-type": "application/json",
}
REPOSITORY = {"id": 4711, "full_name": "acme/widgets"}
MONA = {"login": "mona", "type": "User"}
ISSUE = {"id": 9_000_001, "number": 12}
PULL = {"id": 9_000_002, "number": 15, "head": {"sha": "a" * 40, "ref": "agent/12-login"}}


def sign(body: bytes, secret: str = SECRET, method: str = "sha256") -> str:
    return f"{method}=" + hmac.new(secret.encode(), body, method).hexdigest()


def refusal(act: Any) -> InboundError:
    with pytest.raises(InboundError) as caught:
        act()
    assert caught.value.fix
    return caught.value


def read(event: str, action: str | None = None, **parts: Any) -> list[Hint]:
    payload = {"repository": REPOSITORY, "sender": MONA, **parts}
    return hints.read(event, payload if action is None else {**payload, "action": action})


# --- signatures ----------------------------------------------------------------------------------------------------


def test_githubs_own_example_of_a_signature_holds():
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert inbound.verify(["It's a Secret to Everybody"], b"Hello, World!", header)


@given(body=st.binary(max_size=200), other=st.binary(max_size=200))
def test_only_the_very_bytes_that_were_signed_are_genuine(body, other):
    assert inbound.verify([SECRET, OLD], body, sign(body)) and inbound.verify([SECRET, OLD], body, sign(body, OLD))
    assert inbound.verify([SECRET], other, sign(body)) is (other == body)
    assert not inbound.verify([SECRET], body, sign(body, OLD))


@given(header=st.text(max_size=100))
def test_no_made_up_header_is_genuine_nor_breaks_anything(header):
    assert not inbound.verify([SECRET], b"{}", header)


def test_an_empty_secret_verifies_nothing():
    assert not inbound.verify([""], b"{}", "sha256=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest())


@pytest.mark.parametrize(
    ("secrets", "headers", "status", "word"),
    [
        ([], {"x-hub-signature-256": sign(b"{}")}, 503, "GITHUB_WEBHOOK_SECRET"),
        ([""], {"x-hub-signature-256": sign(b"{}")}, 503, "GITHUB_WEBHOOK_SECRET"),
        ([SECRET], {}, 401, "GITHUB_WEBHOOK_SECRET"),
        ([SECRET], {"x-hub-signature": sign(b"{}", method="sha1")}, 401, "X-Hub-Signature-256"),
        ([SECRET], {"x-hub-signature-256": sign(b"{}", method="sha1")}, 401, "same secret"),
        ([SECRET], {"x-hub-signature-256": sign(b"{} ")}, 401, "rewrite the body"),
        ([SECRET], {"x-hub-signature-256": sign(b"{}", "wrong")}, 401, "same secret"),
    ],
)
def test_a_bad_signature_is_refused_with_the_fix(secrets, headers, status, word):
    error = refusal(lambda: inbound.check_signature(secrets, b"{}", headers))
    assert error.status == status and word in error.fix


# --- bodies --------------------------------------------------------------------------------------------------------


def test_a_body_may_have_five_megabytes_and_no_byte_more():
    inbound.check_size(BODY_MAX_BYTES)
    assert refusal(lambda: inbound.check_size(BODY_MAX_BYTES + 1)).status == 413


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"x-github-event": ""}, 400),
        ({"x-github-event": "a\nb"}, 400),
        ({"x-github-delivery": ""}, 400),
        ({"x-github-delivery": "x" * 101}, 400),
        ({"x-github-delivery": "../1"}, 400),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": ""}, 415),
    ],
)
def test_strange_headers_are_refused(changes, status):
    assert refusal(lambda: inbound.parse({**HEADERS, **changes}, b"{}")).status == status


def test_the_charset_behind_the_content_type_does_not_matter():
    assert inbound.parse({**HEADERS, "content-type": "Application/JSON; charset=utf-8"}, b"{}").payload == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload=%7B%7D",
        b"[]",
        b"null",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',  # half of a surrogate pair, as bytes
        '{"a": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\x1f\x8b\x08\x00",  # compressed
    ],
)
def test_what_is_no_json_object_that_can_be_stored_is_refused(body):
    assert refusal(lambda: inbound.parse(HEADERS, body)).status == 400


def test_characters_that_no_database_keeps_are_replaced():
    body = rb'{"a\u0000": ["b\u0000c", "\ud83d", {"d": "\ud83d\ude00"}], "e": 1}'
    assert inbound.parse(HEADERS, body).payload == {"a\ufffd": ["b\ufffdc", "?", {"d": "😀"}], "e": 1}


def test_wide_bodies_are_not_taken_for_deep_ones():
    body = json.dumps({"labels": [{"name": str(n)} for n in range(300)]}).encode()
    assert len(inbound.parse(HEADERS, body).payload["labels"]) == 300


def test_an_envelope_says_what_a_delivery_is_about():
    payload = {"action": "opened", "issue": ISSUE, "repository": REPOSITORY, "sender": MONA, "installation": {"id": 3}}
    found = inbound.parse(HEADERS, json.dumps(payload).encode())
    assert (found.event, found.action, found.key, found.sender) == ("issues", "opened", "12", "mona")
    assert (found.scope, found.repository_id, found.installation_id) == ("acme/widgets", 4711, 3)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_NAMES = (
    *("action", "issue", "comment", "review", "pull_request", "label", "assignee", "sender", "repository", "state"),
    *("sub_issue", "parent_issue", "sub_issue_repo", "blocked_issue", "blocking_issue", "check_suite", "workflow_run"),
    *("sha", "ref", "after", "deleted", "installation", "login", "number", "id", "full_name", "head", "head_sha"),
)
_KNOWN = st.sampled_from([
    *("opened", "labeled", "created", "completed", "submitted", "sub_issue_added", "blocked_by_added", "success"),
    *("refs/heads/main", "acme/widgets", "a" * 40, 12, "x", True, {"number": 1}, {"login": []}, REPOSITORY, MONA),
])  # fmt: skip
_PAYLOAD = st.recursive(
    _JSON | _KNOWN, lambda inner: st.dictionaries(st.sampled_from(_NAMES), inner, max_size=8), max_leaves=30
)


@given(event=st.sampled_from([*hints.EVENTS, "star", ""]), payload=_PAYLOAD)
def test_any_json_gives_hints_of_the_right_types_or_none(event, payload):
    for hint in hints.read(event, payload):
        texts = (hint.action, hint.scope, hint.key, hint.actor, hint.label, hint.comment_id, hint.head_sha, hint.branch)
        assert all(len(text) <= 250 and text.isprintable() for text in texts)
        assert hint.key == "" or int(hint.key) > 0
        assert hint.scope or hint.kind in (HintKind.INSTALLATION, HintKind.PING)


@given(payload=_PAYLOAD.filter(lambda value: isinstance(value, dict)))
def test_any_object_has_an_envelope_that_fits_the_columns(payload):
    found = inbound.parse(HEADERS, json.dumps(payload).encode())
    assert len(found.action) <= 60 and len(found.scope) <= 200 and len(found.key) <= 50 and len(found.sender) <= 100
    assert json.loads(json.dumps(found.payload)) == found.payload


# --- hints ---------------------------------------------------------------------------------------------------------


def test_an_issues_event_names_issue_actor_and_label():
    (hint,) = read("issues", "labeled", issue=ISSUE, label={"name": "agent:ready"})
    assert hint == Hint(
        kind=HintKind.ISSUE, action="labeled", scope="acme/widgets", key="12", actor="mona", label="agent:ready"
    )
    (hint,) = read("issues", "assigned", issue=ISSUE, assignee={"login": "agent-bot"})
    assert hint.assignee == "agent-bot"


def test_both_ends_of_an_edge_within_the_repository_are_looked_at():
    ends = {"parent_issue": {"number": 1}, "sub_issue": {"number": 2}}
    assert [hint.key for hint in read("sub_issues", "sub_issue_added", **ends, sub_issue_repo=REPOSITORY)] == ["1", "2"]
    elsewhere = {"full_name": "acme/gadgets"}
    assert [hint.key for hint in read("sub_issues", "sub_issue_removed", **ends, sub_issue_repo=elsewhere)] == ["1"]
    ends = {"blocked_issue": {"number": 3}, "blocking_issue": {"number": 4}}
    keys = [hint.key for hint in read("issue_dependencies", "blocking_added", **ends, blocked_issue_repo=elsewhere)]
    assert keys == ["4"]


def test_a_comment_is_about_an_issue_or_about_a_pull_request():
    (hint,) = read("issue_comment", "created", issue=ISSUE, comment={"id": 77})
    assert (hint.kind, hint.key, hint.comment_id, hint.text) == (HintKind.COMMENT, "12", "77", "")
    for body, text in (("/agent run", "/agent run"), (7, ""), ("x" * 100_000, "x" * 65_536)):
        (hint,) = read("issue_comment", "created", issue=ISSUE, comment={"id": 77, "body": body})
        assert hint.text == text
    (hint,) = read("issue_comment", "created", issue={**ISSUE, "pull_request": {"url": "…"}}, comment={"id": 78})
    assert (hint.kind, hint.comment_id) == (HintKind.CHANGE, "78")


@pytest.mark.parametrize(
    ("event", "action", "parts", "comment_id"),
    [
        ("pull_request", "closed", {}, ""),
        ("pull_request_review", "submitted", {"review": {"id": 5, "body": "said"}}, "5"),
        ("pull_request_review_comment", "created", {"comment": {"id": 6, "body": "said"}}, "6"),
    ],
)
def test_events_of_a_pull_request_name_it_with_its_head(event, action, parts, comment_id):
    (hint,) = read(event, action, pull_request=PULL, **parts)
    assert (hint.kind, hint.key, hint.comment_id) == (HintKind.CHANGE, "15", comment_id)
    assert hint.text == ("said" if comment_id else "")
    assert (hint.head_sha, hint.branch) == ("a" * 40, "agent/12-login")


@pytest.mark.parametrize(
    ("event", "parts"),
    [
        ("check_suite", {"action": "completed", "check_suite": {"head_sha": "b" * 40, "head_branch": "x"}}),
        ("workflow_run", {"action": "completed", "workflow_run": {"head_sha": "b" * 40, "head_branch": "x"}}),
        ("status", {"state": "failure", "sha": "b" * 40}),
    ],
)
def test_finished_checks_name_their_commit(event, parts):
    (hint,) = read(event, **parts)
    assert (hint.kind, hint.key, hint.head_sha) == (HintKind.CHANGE, "", "b" * 40)


def test_a_push_names_its_branch():
    (hint,) = read("push", ref="refs/heads/release/refs/heads/1", after="c" * 40)
    assert (hint.kind, hint.branch, hint.head_sha) == (HintKind.PUSH, "release/refs/heads/1", "c" * 40)
    assert read("push", ref="refs/tags/v1", after="c" * 40) == []
    assert read("push", ref="refs/heads/gone", after="0" * 40, deleted=True) == []


def test_an_installation_and_a_ping_need_no_repository():
    installation = {"id": 3, "account": {"login": "acme"}}
    for event in ("installation", "installation_repositories"):
        (hint,) = hints.read(event, {"action": "created", "installation": installation, "sender": MONA})
        assert (hint.kind, hint.scope, hint.installation_id) == (HintKind.INSTALLATION, "acme", 3)
    (hint,) = hints.read("ping", {"zen": "Keep it logically awesome."})
    assert hint.kind == HintKind.PING


@pytest.mark.parametrize(
    ("event", "parts"),
    [
        ("issues", {"action": "pinned", "issue": ISSUE}),
        ("issues", {"action": "invented_tomorrow", "issue": ISSUE}),
        ("issues", {"issue": ISSUE}),
        ("issues", {"action": "opened"}),
        ("issue_comment", {"action": "pinned", "issue": ISSUE, "comment": {"id": 1}}),
        ("check_suite", {"action": "requested", "check_suite": {"head_sha": "b" * 40}}),
        ("status", {"state": "pending", "sha": "b" * 40}),
        ("star", {"action": "created"}),
        ("invented_tomorrow", {"action": "opened", "issue": ISSUE}),
    ],
)
def test_what_nobody_knows_or_needs_gives_no_hint(event, parts):
    assert read(event, **parts) == []


@pytest.mark.parametrize(
    ("sender", "is_bot"),
    [
        (MONA, False),
        ({"login": "agent-grid[bot]", "type": "Bot"}, True),
        ({"login": "Disguised[bot]", "type": "User"}, True),
        ({"login": "Agent-Bot", "type": "User"}, True),
        ({"login": "renovate[bot]", "type": "Bot"}, False),
        ({"login": "agent-grid-double[bot]", "type": "Bot"}, True),
    ],
)
def test_bots_and_we_ourselves_are_told_from_people(sender, is_bot):
    payload = {"action": "opened", "issue": ISSUE, "repository": REPOSITORY, "sender": sender}
    allowed = {"renovate[bot]", "agent-bot"}  # we ourselves are never a person, whatever is allowed
    (hint,) = hints.read("issues", payload, own_logins={"agent-bot"}, allowed_bots=allowed)
    assert hint.actor_is_bot is is_bot and hint.actor == sender["login"]


def test_our_name_of_a_renamed_repository_is_the_hints():
    payload = {"action": "opened", "issue": ISSUE, "repository": {"full_name": "acme/renamed"}, "sender": MONA}
    assert hints.read("issues", payload, scope="acme/widgets")[0].scope == "acme/widgets"


def test_nothing_but_texts_of_the_expected_form_is_read():
    assert payloads.login({"login": "<script>"}) == "" and payloads.scope({"full_name": "a/b/c"}) == ""
    assert payloads.number({"id": True}, "id") is None and payloads.number({"id": 2**70}, "id") is None
    assert payloads.branch({"ref": "a\nb"}, "ref") == "" and payloads.label({"label": {"name": "x" * 51}}) == ""
