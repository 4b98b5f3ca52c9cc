"""Webhooks of the fake GitHub: signed, repeated, shuffled, lost and delivered again."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from github import Auth, GithubException, GithubIntegration

from tests.integration.tracker.fake_github_world import Listener, furnish, repository
from tracker.fake_github import Delivery, FakeGithub


@pytest.fixture
def server() -> Iterator[FakeGithub]:
    with FakeGithub.start() as started:
        furnish(started)
        yield started


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def eventually(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "not within 10 s"
        time.sleep(0.01)


def kinds(deliveries: list[Delivery]) -> list[tuple[str, str | None]]:
    return [(one.event, one.action) for one in deliveries]


def test_a_webhook_has_githubs_headers_and_a_signature_over_the_body(server: FakeGithub, listener: Listener) -> None:
    hook = server.world.add_hook("acme/widgets", url=listener.url, secret="s3cret")
    number = server.world.act("alice").open_issue("One", body="Grüße")

    assert server.world.deliver() == [202]
    headers, body = listener.received[0]
    assert headers["X-Hub-Signature-256"] == signature("s3cret", body)
    assert headers["X-Hub-Signature"].startswith("sha1=")
    assert (headers["X-GitHub-Event"], headers["Content-Type"]) == ("issues", "application/json")
    assert headers["X-GitHub-Hook-ID"] == str(hook.id)
    assert headers["X-GitHub-Hook-Installation-Target-Type"] == "repository"
    assert headers["User-Agent"].startswith("GitHub-Hookshot/")
    payload = json.loads(body)
    assert (payload["action"], payload["issue"]["number"], payload["sender"]["login"]) == ("opened", number, "alice")
    assert payload["organization"]["login"] == "acme"
    assert "installation" not in payload
    assert server.world.deliveries[0].status_code == 202


def test_everything_a_person_does_is_announced(server: FakeGithub) -> None:
    server.world.add_hook("acme/widgets", url="http://127.0.0.1:9/")
    alice = server.world.act("alice")
    issue, other = alice.open_issue("One"), alice.open_issue("Two")
    steps: list[tuple[Any, list[tuple[str, str]]]] = [
        (lambda: alice.edit_issue(issue, title="Uno"), [("issues", "edited")]),
        (lambda: alice.add_label(issue, "bug"), [("issues", "labeled")]),
        (lambda: alice.add_label(issue, "bug"), []),
        (lambda: alice.remove_label(issue, "bug"), [("issues", "unlabeled")]),
        (lambda: alice.assign(issue, "tim"), [("issues", "assigned")]),
        (lambda: alice.unassign(issue, "tim"), [("issues", "unassigned")]),
        (lambda: alice.comment(issue, "hello"), [("issue_comment", "created")]),
        (lambda: alice.edit_comment(alice.comments(issue)[0]["id"], "bye"), [("issue_comment", "edited")]),
        (lambda: alice.delete_comment(alice.comments(issue)[0]["id"]), [("issue_comment", "deleted")]),
        (lambda: alice.add_sub_issue(issue, other), [("sub_issues", "sub_issue_added"),
                                                     ("sub_issues", "parent_issue_added")]),
        (lambda: alice.remove_sub_issue(issue, other), [("sub_issues", "sub_issue_removed"),
                                                        ("sub_issues", "parent_issue_removed")]),
        (lambda: alice.add_blocker(issue, other), [("issue_dependencies", "blocked_by_added"),
                                                   ("issue_dependencies", "blocking_added")]),
        (lambda: alice.remove_blocker(issue, other), [("issue_dependencies", "blocked_by_removed"),
                                                      ("issue_dependencies", "blocking_removed")]),
        (lambda: alice.close(issue, "not_planned"), [("issues", "closed")]),
        (lambda: alice.close(issue, "not_planned"), []),
        (lambda: alice.reopen(issue), [("issues", "reopened")]),
        (lambda: alice.open_pull("feature"), [("pull_request", "opened")]),
        (lambda: alice.comment(3, "nice"), [("issue_comment", "created")]),
        (lambda: alice.add_label(3, "bug"), [("pull_request", "labeled")]),
        (lambda: alice.close_pull(3), [("pull_request", "closed")]),
        (lambda: alice.finish_workflow("a" * 40, "CI", "failure", "feature"), [("workflow_run", "completed")]),
    ]  # fmt: skip

    for step, expected in steps:
        before = len(server.world.deliveries)
        step()
        assert kinds(server.world.deliveries[before:]) == expected
    edited = json.loads(server.world.deliveries[2].body)
    assert edited["changes"] == {"title": {"from": "One"}}


def test_an_app_hears_of_its_repositories_and_its_permissions_only(server: FakeGithub) -> None:
    world = server.world
    world.add_repository("other/things", {"alice": "write"})
    app = world.add_app(permissions={"issues": "write"})
    world.add_hook(app, url="http://127.0.0.1:9/", secret="s")
    number = world.add_installation(app)

    world.act("alice").open_issue("Heard")
    world.act("alice", "other/things").open_issue("Not heard")
    world.act("alice").open_pull("feature")
    world.set_installation_repositories(number, [])
    world.act("alice").open_issue("Not heard any more")
    world.remove_installation(number)

    assert kinds(world.deliveries) == [
        ("installation", "created"), ("issues", "opened"), ("installation_repositories", "removed"),
        ("installation", "deleted"),
    ]  # fmt: skip
    heard = world.deliveries[1]
    assert json.loads(heard.body)["installation"]["id"] == heard.installation_id == number
    assert heard.headers["X-GitHub-Hook-Installation-Target-Type"] == "integration"


def test_duplicates_have_one_guid_and_shuffling_changes_the_order(server: FakeGithub, listener: Listener) -> None:
    hook = server.world.add_hook("acme/widgets", url=listener.url, duplicate=True, shuffle=7)
    alice = server.world.act("alice")
    for index in range(10):
        alice.open_issue(f"Issue {index}")
    in_order = [one.guid for one in server.world.deliveries]

    server.world.deliver()

    assert len(listener.guids()) == 20
    assert {listener.guids().count(guid) for guid in in_order} == {2}
    assert list(dict.fromkeys(listener.guids())) != in_order
    hook.duplicate, hook.shuffle = False, None
    alice.open_issue("Calm again")
    assert server.world.deliver() == [202]


def test_a_lost_delivery_is_found_and_repeated_under_its_guid(server: FakeGithub, listener: Listener) -> None:
    world = server.world
    app = world.add_app()
    world.add_installation(app)
    hook = world.add_hook(app, url=listener.url, secret="old", drop=True)
    world.act("alice").open_issue("Lost")
    listener.status = 500
    world.deliver()
    hook.drop, hook.secret = False, "new"
    auth = Auth.AppAuth(app.id, app.private_key_pem)
    with GithubIntegration(
        auth=auth, base_url=server.url, retry=None, seconds_between_requests=None, seconds_between_writes=None
    ) as integration:
        headers = {"Authorization": f"Bearer {auth.create_jwt()}"}
        request = integration.requester.requestJsonAndCheck
        failed = request("GET", "/app/hook/deliveries", {"status": "failure"}, headers=headers)[1]
        assert [(one["event"], one["status_code"], one["redelivery"]) for one in failed] == [("issues", 0, False)]
        listener.status = 202
        request("POST", f"/app/hook/deliveries/{failed[0]['id']}/attempts", headers=headers)
        with pytest.raises(GithubException, check=lambda error: error.status == 404):
            request("POST", "/app/hook/deliveries/1/attempts", headers=headers)
        assert world.deliver() == [202]
        newest = request("GET", "/app/hook/deliveries", headers=headers)[1][0]
        shown = request("GET", f"/app/hook/deliveries/{newest['id']}", headers=headers)[1]

    assert listener.guids() == [failed[0]["guid"]]
    assert (newest["guid"], newest["redelivery"]) == (failed[0]["guid"], True)
    assert shown["request"]["payload"]["issue"]["title"] == "Lost"
    headers_, body = listener.received[0]
    assert headers_["X-Hub-Signature-256"] == signature("new", body)


def test_repository_hooks_are_made_through_the_api(server: FakeGithub, listener: Listener) -> None:
    with repository(server, "adam") as repo:
        hook = repo.create_hook("web", {"url": listener.url, "content_type": "json", "secret": "s"}, ["issues"])
        with pytest.raises(GithubException, check=lambda error: error.status == 422):
            repo.create_hook("web", {"url": listener.url}, ["issues"])
        server.world.act("alice").open_issue("One")
        server.world.act("alice").comment(1, "not asked for")
        server.world.deliver()

        assert [one.id for one in repo.get_hooks()] == [hook.id]
        assert hook.config["secret"] == "********"
        found = list(repo.get_hook_deliveries(hook.id))
        assert [(one.event, one.status_code) for one in found] == [("issues", 202), ("ping", 202)]
        repo.requester.requestJsonAndCheck("POST", f"{hook.url}/deliveries/{found[0].id}/attempts")
        server.world.deliver()
        hook.edit("web", {"url": listener.url, "secret": "rotated"}, events=["issues"])
        server.world.act("alice").open_issue("Two")
        server.world.deliver()
        hook.delete()
        server.world.act("alice").open_issue("Nobody hears")

    assert [headers["X-GitHub-Event"] for headers, _ in listener.received] == ["ping", "issues", "issues", "issues"]
    assert listener.guids()[1] == listener.guids()[2]
    headers, body = listener.received[-1]
    assert headers["X-Hub-Signature-256"] == signature("rotated", body)


def test_deliveries_are_paged_by_cursor(server: FakeGithub) -> None:
    hook = server.world.add_hook("acme/widgets", url="http://127.0.0.1:9/", drop=True)
    for index in range(70):
        server.world.act("alice").open_issue(f"Issue {index}")
    server.world.deliver()

    with repository(server, "adam") as repo:
        found = [one.id for one in repo.get_hook_deliveries(hook.id)]

    assert found == [one.id for one in reversed(server.world.deliveries)]


def test_webhooks_leave_by_themselves_when_asked_to(server: FakeGithub, listener: Listener) -> None:
    server.world.add_hook("acme/widgets", url=listener.url)
    server.world.act("alice").open_issue("Waits")
    time.sleep(0.1)
    assert listener.received == []

    server.world.auto_deliver = True

    eventually(lambda: len(listener.received) == 1)
    server.world.act("alice").open_issue("At once")
    eventually(lambda: len(listener.received) == 2)


def test_a_listener_that_does_not_answer_is_a_failure(server: FakeGithub, listener: Listener) -> None:
    server.world.add_hook("acme/widgets", url="http://127.0.0.1:9/")
    server.world.act("alice").open_issue("One")

    assert server.world.deliver() == [0]
    assert server.world.deliveries[0].delivered_at is not None
