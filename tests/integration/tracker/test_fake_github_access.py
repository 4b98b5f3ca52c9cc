"""Who may do what on the fake GitHub: personal tokens, Apps and their installations."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
import requests
from github import Auth, GithubException, GithubIntegration
from github.Repository import Repository

from tests.integration.tracker.fake_github_world import PEOPLE, REPOSITORY, client, furnish, repository
from tracker.fake_github import ApiError, App, FakeGithub


@pytest.fixture
def server() -> Iterator[FakeGithub]:
    with FakeGithub.start() as started:
        furnish(started)
        yield started


@pytest.fixture
def app(server: FakeGithub) -> App:
    return server.world.add_app()


def refused(status: int, text: str = "") -> Any:
    return pytest.raises(GithubException, check=lambda error: error.status == status and text in str(error.data))


def ask(server: FakeGithub, path: str, token: str, method: str = "GET", **body: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, f"{server.url}{path}", headers=headers, json=body or None, timeout=10)


def forged(app: App, **claims: Any) -> str:
    now = int(dt.datetime.now(dt.UTC).timestamp())
    return jwt.encode({"iss": str(app.id), "iat": now - 10, "exp": now + 300} | claims, app.private_key_pem, "RS256")


def test_without_a_good_token_nothing_is_answered(server: FakeGithub) -> None:
    assert ask(server, f"/repos/{REPOSITORY}", "").status_code == 401
    assert ask(server, f"/repos/{REPOSITORY}", "guessed").json()["message"] == "Bad credentials"


def test_a_private_repository_does_not_exist_for_outsiders(server: FakeGithub) -> None:
    number = server.world.act("alice").open_issue("Secret")

    for method, path in (("GET", ""), ("GET", f"/issues/{number}"), ("POST", "/issues"), ("GET", "/issues/99")):
        answer = ask(server, f"/repos/{REPOSITORY}{path}", "mallory-token", method, title="x")
        assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")


LEVELS = {"admin": 4, "write": 3, "triage": 2, "read": 1}


@pytest.mark.parametrize("login", PEOPLE)
def test_each_level_may_do_what_it_may(server: FakeGithub, login: str) -> None:
    number = server.world.act("adam").open_issue("One")
    person = server.world.act(login)
    acts: list[tuple[int, Callable[[], object]]] = [
        (1, lambda: person.comment(number, "hello")),
        (1, lambda: person.open_issue("Mine")),
        (2, lambda: person.add_label(number, "bug")),
        (2, lambda: person.edit_issue(number, title="Changed")),
        (3, lambda: person.set_status("a" * 40, "success")),
        (3, lambda: person.api("POST", "/labels", {"name": f"by-{login}", "color": "ededed"})),
        (4, lambda: person.api("GET", "/hooks")),
    ]

    for needed, act in acts:
        if LEVELS[PEOPLE[login]] >= needed:
            act()
        else:
            with pytest.raises(ApiError, check=lambda error: error.status == 403):
                act()


def test_labels_of_people_who_may_not_triage_are_dropped_and_authors_edit_their_own(server: FakeGithub) -> None:
    rita = server.world.act("rita")
    number = rita.open_issue("Mine", labels=["agent:ready"], assignees=["alice"])

    rita.edit_issue(number, body="later words")

    issue = rita.issue(number)
    assert (issue["labels"], issue["assignees"], issue["body"]) == ([], [], "later words")
    rita.assign(number, "alice")
    assert rita.issue(number)["assignees"] == []


def test_comments_of_others_are_edited_by_writers_only(server: FakeGithub) -> None:
    number = server.world.act("rita").open_issue("Mine")
    comment = server.world.act("rita").comment(number, "mine")

    with pytest.raises(ApiError, match="403"):
        server.world.act("tim").edit_comment(comment, "his")
    server.world.act("alice").edit_comment(comment, "hers")


@pytest.mark.parametrize(
    ("login", "permission", "role"),
    [("adam", "admin", "admin"), ("alice", "write", "write"), ("tim", "read", "triage"), ("rita", "read", "read"),
     ("mallory", "none", "none"), ("agent-grid[bot]", "none", "none")],
)  # fmt: skip
def test_the_permission_lookup_knows_triage_only_as_role(
    server: FakeGithub, app: App, login: str, permission: str, role: str
) -> None:
    with repository(server) as repo:
        assert repo.get_collaborator_permission(login) == permission
        assert repo.get_collaborator_role_name(login) == role


def test_whoever_is_no_user_has_no_permission_to_look_up(server: FakeGithub) -> None:
    with repository(server) as repo, refused(404, "is not a user"):
        repo.get_collaborator_permission("nobody")


def test_anybody_may_read_a_public_repository(server: FakeGithub) -> None:
    server.world.add_repository("acme/open", private=False)

    assert ask(server, "/repos/acme/open", "mallory-token").json()["private"] is False
    assert (
        ask(server, "/repos/acme/open/collaborators/mallory/permission", "mallory-token").json()["permission"] == "read"
    )


@contextlib.contextmanager
def as_installation(
    server: FakeGithub, app: App, number: int, permissions: dict[str, str] | None = None
) -> Iterator[Repository]:
    auth = Auth.AppAuth(app.id, app.private_key_pem).get_installation_auth(number, permissions)
    with repository(server, auth) as found:
        yield found


def test_an_app_finds_its_installation_and_acts_as_its_bot(server: FakeGithub, app: App) -> None:
    number = server.world.add_installation(app)
    auth = Auth.AppAuth(app.id, app.private_key_pem)
    with GithubIntegration(auth=auth, base_url=server.url, retry=None, seconds_between_requests=None) as integration:
        assert integration.get_app().slug == "agent-grid"
        assert integration.get_repo_installation("acme", "widgets").id == number
        assert [one.id for one in integration.get_installations()] == [number]

    with as_installation(server, app, number) as repo:
        assert repo.create_issue("By the bot", labels=["bug"]).user.login == "agent-grid[bot]"
        assert [label.name for label in repo.get_issue(1).labels] == ["bug"]


@pytest.mark.parametrize(
    "claims", [{"exp": 1}, {"exp": 9_999_999_999}, {"iat": 9_999_999_999}, {"exp": None}, {"iss": "77"}]
)
def test_a_bad_jwt_is_refused(server: FakeGithub, app: App, claims: dict[str, Any]) -> None:
    assert ask(server, "/app", forged(app)).status_code == 200
    assert ask(server, "/app", forged(app, **claims)).status_code in (401, 404)


def test_a_jwt_by_another_key_is_refused(server: FakeGithub, app: App) -> None:
    now = int(dt.datetime.now(dt.UTC).timestamp())
    claims = {"iss": "1", "iat": now - 10, "exp": now + 300}

    for token in (jwt.encode(claims, "guess" * 10, "HS256"), jwt.encode(claims, None, "none"), "a.b.c"):
        assert ask(server, "/app", token).status_code == 401


def test_each_kind_of_token_opens_its_own_doors(server: FakeGithub, app: App) -> None:
    number = server.world.add_installation(app)
    path = f"/app/installations/{number}/access_tokens"
    token = ask(server, path, forged(app), "POST").json()["token"]

    assert ask(server, "/app", token).status_code == 403
    assert ask(server, "/user", token).status_code == 403
    assert ask(server, f"/repos/{REPOSITORY}", forged(app)).status_code == 401
    assert ask(server, path, "alice-token", "POST").status_code == 401
    assert ask(server, "/user", "alice-token").json()["login"] == "alice"


def test_an_installation_token_expires(server: FakeGithub, app: App) -> None:
    number = server.world.add_installation(app)
    answer = ask(server, f"/app/installations/{number}/access_tokens", forged(app), "POST").json()

    assert ask(server, f"/repos/{REPOSITORY}", answer["token"]).status_code == 200
    server.world.advance(3_601)
    assert ask(server, f"/repos/{REPOSITORY}", answer["token"]).status_code == 401


def test_an_uninstalled_app_has_no_access(server: FakeGithub, app: App) -> None:
    number = server.world.add_installation(app)
    token = ask(server, f"/app/installations/{number}/access_tokens", forged(app), "POST").json()["token"]
    server.world.remove_installation(number)

    assert ask(server, f"/repos/{REPOSITORY}", token).status_code == 401
    assert ask(server, f"/repos/{REPOSITORY}/installation", forged(app)).status_code == 404


def test_a_token_may_do_no_more_than_it_was_asked_for(server: FakeGithub, app: App) -> None:
    number = server.world.add_installation(app)
    issue = server.world.act("alice").open_issue("One")
    pull = server.world.act("alice").open_pull("feature")

    with as_installation(server, app, number, {"pull_requests": "write", "issues": "read"}) as repo:
        repo.get_pull(pull).edit(title="Better")
        repo.get_issue(pull).add_to_labels("on-a-pull")
        assert repo.get_issue(issue).title == "One"
        with refused(403, "Resource not accessible by integration"):
            repo.get_issue(issue).add_to_labels("bug")
    with as_installation(server, app, number, {"issues": "write"}) as repo, refused(403, "not accessible"):
        repo.create_pull(base="main", head="other", title="x")
    with refused(422, "permissions requested"), as_installation(server, app, number, {"workflows": "write"}):
        pass


def test_a_missing_permission_of_the_installation_shows_on_use(server: FakeGithub, app: App) -> None:
    number = server.world.add_installation(app)
    server.world.set_app_permissions(number, {"issues": "read", "metadata": "read"})

    with as_installation(server, app, number) as repo, refused(403, "Resource not accessible by integration"):
        repo.create_issue("One")


def test_an_installation_reaches_its_repositories_only(server: FakeGithub, app: App) -> None:
    server.world.add_repository("acme/gears")
    server.world.add_repository("other/widgets")
    number = server.world.add_installation(app, repositories=["acme/widgets", "acme/gears"])
    path = f"/app/installations/{number}/access_tokens"
    wide = ask(server, path, forged(app), "POST").json()["token"]
    narrow = ask(server, path, forged(app), "POST", repositories=["gears"]).json()

    def reached(token: str) -> list[str]:
        return [one["full_name"] for one in ask(server, "/installation/repositories", token).json()["repositories"]]

    assert reached(wide) == ["acme/widgets", "acme/gears"]
    assert reached(narrow["token"]) == [one["full_name"] for one in narrow["repositories"]] == ["acme/gears"]
    assert ask(server, "/repos/acme/widgets", narrow["token"]).status_code == 404
    assert ask(server, "/repos/other/widgets", wide).status_code == 404
    assert ask(server, path, forged(app), "POST", repositories=["unknown"]).status_code == 422
    server.world.set_installation_repositories(number, ["acme/gears"])
    assert reached(wide) == ["acme/gears"]


@pytest.mark.parametrize("given", [b"{", b"[" * 100_000, b'"text"', b"\xff"])
def test_a_broken_body_is_a_4xx(server: FakeGithub, given: bytes) -> None:
    headers = {"Authorization": "Bearer alice-token"}
    answer = requests.post(f"{server.url}/repos/{REPOSITORY}/issues", given, headers=headers, timeout=10)

    assert answer.status_code in (400, 422)
    with contextlib.closing(client(server, "alice")) as github:
        assert github.get_repo(REPOSITORY).get_issues(state="all").totalCount == 0
