"""Rights of people, credentials for git, and the account's check-up, against a fake GitHub over HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone

from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_account import (
    APP,
    PERSON,
    TOKEN,
    account,
    make_repository,
    our_app,
    our_installation,
    sent,
)
from tracker import public_accounts, public_writes
from tracker.fake_github import FakeGithub, Fault
from tracker.github import checkup
from tracker.models import Installation, Permission, Quota, Repository
from tracker.public_errors import InvalidError, NotFoundError, NotOursError
from tracker.public_sync import add_repository
from tracker.public_types import Trust, Write, WriteKind

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "a-long-random-secret"


@pytest.fixture(params=[APP, PERSON])
def either(request: Any, settings: Any, tmp_path: Path) -> Iterator[FakeGithub]:
    with account(settings, request.param, tmp_path / "git") as server:
        yield server


@pytest.fixture
def server(settings: Any) -> Iterator[FakeGithub]:
    with account(settings, PERSON) as server:
        yield server


@pytest.fixture
def app_server(settings: Any, tmp_path: Path) -> Iterator[FakeGithub]:
    with account(settings, APP, tmp_path / "git") as server:
        yield server


@pytest.fixture
def repository() -> Repository:
    return make_repository()


# --- rights of people ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "trust"),
    [
        ("adam", Trust.ADMIN),
        ("alice", Trust.WRITE),
        ("ALICE", Trust.WRITE),
        ("tim", Trust.TRIAGE),
        ("rita", Trust.READ),
        ("mallory", Trust.NONE),
        ("nobody-at-all", Trust.NONE),
        ("", Trust.NONE),
        ("alice/../../adam", Trust.NONE),
        ("alice?", Trust.NONE),
        ("renovate[bot]", Trust.NONE),
        ("agent-grid[bot]", Trust.NONE),
    ],
)
def test_trust_is_what_github_says(either: FakeGithub, repository: Repository, login: str, trust: Trust) -> None:
    assert public_accounts.permission(repository.pk, login) is trust


def test_a_maintainer_may_write(server: FakeGithub, repository: Repository) -> None:
    server.world.set_permission(REPOSITORY, "mona", "maintain")
    assert public_accounts.permission(repository.pk, "mona") is Trust.WRITE


def test_only_bots_on_the_list_may_write(server: FakeGithub, repository: Repository, settings: Any) -> None:
    settings.TRACKER_GITHUB_ALLOWED_BOTS = ["Renovate[bot]"]
    assert public_accounts.permission(repository.pk, "renovate[bot]") is Trust.WRITE
    assert public_accounts.permission(repository.pk, "other[bot]") is Trust.NONE
    assert not sent(server)


def test_trust_is_kept_for_five_minutes(server: FakeGithub, repository: Repository) -> None:
    assert public_accounts.permission(repository.pk, "alice") is Trust.WRITE
    server.world.set_permission(REPOSITORY, "alice", "none")
    assert public_accounts.permission(repository.pk, "Alice") is Trust.WRITE
    assert len(sent(server, "GET", "permission")) == 1
    Permission.objects.update(checked_at=timezone.now() - timedelta(minutes=5, seconds=1))
    assert public_accounts.permission(repository.pk, "alice") is Trust.NONE
    assert Permission.objects.get().trust == "none"


@pytest.mark.parametrize("kind", ["502", "403-secondary", "429", "disconnect"])
def test_without_an_answer_nobody_is_trusted_and_it_is_asked_again(
    server: FakeGithub, repository: Repository, kind: str
) -> None:
    server.world.faults.append(Fault(kind=kind, path="permission", times=99, retry_after=1))
    assert public_accounts.permission(repository.pk, "adam") is Trust.NONE
    assert not Permission.objects.exists()
    server.world.faults.clear()
    Quota.objects.all().delete()  # what GitHub said of limits
    assert public_accounts.permission(repository.pk, "adam") is Trust.ADMIN


def test_without_credentials_nobody_is_trusted(server: FakeGithub, repository: Repository, settings: Any) -> None:
    settings.TRACKER_GITHUB_TOKEN = ""
    assert public_accounts.permission(repository.pk, "adam") is Trust.NONE
    assert not Permission.objects.exists()


def test_old_trust_is_not_used_when_github_is_away(server: FakeGithub, repository: Repository) -> None:
    public_accounts.permission(repository.pk, "adam")
    Permission.objects.update(checked_at=timezone.now() - timedelta(hours=1))
    server.stop()
    assert public_accounts.permission(repository.pk, "adam") is Trust.NONE


def test_several_people_are_asked_about_in_one_session(app_server: FakeGithub, repository: Repository) -> None:
    found = public_accounts.permissions_of(repository.pk, ["adam", "tim", "dependabot[bot]"])
    assert found == {"adam": Trust.ADMIN, "tim": Trust.TRIAGE, "dependabot[bot]": Trust.NONE}


# --- git -----------------------------------------------------------------------------------------------------------


def git(*arguments: str, cwd: Path, credential: public_accounts.GitCredential) -> subprocess.CompletedProcess[str]:
    helper = f"!printf 'username={credential.username}\\npassword={credential.password}\\n' #"
    options = ["-c", "credential.helper=", "-c", f"credential.helper={helper}"]
    options += ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    environment = {"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(cwd)}
    return subprocess.run(
        ["git", *options, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=30
    )


def test_a_credential_clones_and_pushes(either: FakeGithub, repository: Repository, tmp_path: Path) -> None:
    credential = public_accounts.git_credential(repository.pk)
    assert credential.url == f"{either.url}/{REPOSITORY}.git"
    cloned = git("clone", "-q", credential.url, "work", cwd=tmp_path, credential=credential)
    assert cloned.returncode == 0, cloned.stderr
    work = tmp_path / "work"
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=work, credential=credential)
    pushed = git("push", "-q", "origin", "HEAD:refs/heads/agent/1", cwd=work, credential=credential)
    assert pushed.returncode == 0, pushed.stderr


def test_an_apps_credential_can_do_nothing_but_git_in_that_repository(
    app_server: FakeGithub, repository: Repository
) -> None:
    app_server.world.add_repository("acme/secrets", files={"a": "b"})
    password = public_accounts.git_credential(repository.pk).password
    grant = app_server.world.installation_tokens[password]
    assert grant.permissions == {"contents": "write", "metadata": "read"}
    assert grant.repository_ids == frozenset([app_server.world.repository(REPOSITORY).id])


def test_a_credential_is_shared_unless_git_was_refused_with_it(app_server: FakeGithub, repository: Repository) -> None:
    first = public_accounts.git_credential(repository.pk).password
    assert public_accounts.git_credential(repository.pk).password == first
    second = public_accounts.git_credential(repository.pk, refused=first).password
    assert second != first
    assert public_accounts.git_credential(repository.pk, refused=first).password == second


def test_who_takes_the_name_of_our_repository_gets_nothing(either: FakeGithub, repository: Repository) -> None:
    world = either.world
    Repository.objects.update(remote_id=world.repository(REPOSITORY).id)
    number = world.act("alice", REPOSITORY).open_issue("ours")
    assert public_accounts.git_credential(repository.pk).password
    world.rename_repository(REPOSITORY, "gadgets")
    # The worst case: our account may write there as well, and the number of the issue is the same.
    world.add_repository(REPOSITORY, {"mallory": "admin", "agent-bot": "write"}, private=False)
    world.act("mallory", REPOSITORY).open_issue("theirs")
    with pytest.raises(NotOursError, match="github add"):
        public_accounts.git_credential(repository.pk)
    payload = {"ref": str(number), "slot": "status", "data": {}, "markdown": "hello"}
    write = Write(key="hello", kind=WriteKind.UPSERT_COMMENT, payload=payload)
    with transaction.atomic():
        public_writes.wish(repository.pk, [write])
    before = len(either.traffic)
    cache.clear()  # what was asked a minute ago is too old
    (waiting,) = public_writes.drain(repository.pk, now=timezone.now())
    assert "github add" in waiting.error and not waiting.is_permanent
    assert public_accounts.permission(repository.pk, "mallory") == Trust.NONE
    assert {line[0] for line in either.traffic[before:]} <= {"GET", "POST"}
    assert [line[1] for line in either.traffic[before:] if line[0] == "POST" and "access_tokens" not in line[1]] == []
    assert world.act("mallory", REPOSITORY).comments(number) == []
    # Somebody says where ours is now, and what was wished for goes there.
    add_repository("acme/gadgets")
    (done,) = public_writes.drain(repository.pk, now=timezone.now() + timedelta(minutes=6))
    assert done.is_done, done.error
    assert len(world.act("alice", "acme/gadgets").comments(number)) == 1
    assert public_accounts.git_credential(repository.pk).url.endswith("/acme/gadgets.git")


def test_an_apps_token_is_for_the_repository_not_for_its_name(app_server: FakeGithub, repository: Repository) -> None:
    ours = app_server.world.repository(REPOSITORY).id
    Repository.objects.update(remote_id=ours)
    public_accounts.git_credential(repository.pk)
    app_server.world.rename_repository(REPOSITORY, "gadgets")
    app_server.world.add_repository(REPOSITORY)
    cache.clear()
    with pytest.raises(NotOursError, match="not shown"):  # the token does not even show whose the name is now
        public_accounts.git_credential(repository.pk)
    assert {one.repository_ids for one in app_server.world.installation_tokens.values()} == {frozenset([ours])}


def test_no_credential_shows_its_password(either: FakeGithub, repository: Repository) -> None:
    credential = public_accounts.git_credential(repository.pk)
    assert credential.password not in repr(credential)
    assert credential.password not in credential.url


def test_a_local_repository_has_no_credential(server: FakeGithub) -> None:
    row = Repository.objects.create(tracker="local", scope="acme/tools", source="/srv", default_branch="main")
    with pytest.raises(InvalidError):
        public_accounts.git_credential(row.pk)
    with pytest.raises(NotFoundError):
        public_accounts.git_credential(0)


@pytest.mark.parametrize("scope", ["widgets", "../widgets", "a/b/c", "a/b?c", "a b/c", "a/.."])
def test_a_strange_scope_has_no_url(scope: str) -> None:
    with pytest.raises(NotFoundError):
        public_accounts.clone_url(scope)


# --- installations -------------------------------------------------------------------------------------------------


def test_installations_are_read_into_our_rows(app_server: FakeGithub) -> None:
    (found,) = public_accounts.installations()
    assert (found.id, found.account, found.is_suspended) == (our_installation(app_server), "acme", False)
    assert found.permissions["issues"] == "write"
    assert Installation.objects.get().installation_id == found.id
    public_accounts.installations()
    assert Installation.objects.count() == 1


def test_a_person_has_no_installations(server: FakeGithub) -> None:
    assert public_accounts.installations() == []


# --- the check-up --------------------------------------------------------------------------------------------------


def faults() -> list[public_accounts.Finding]:
    return [finding for finding in public_accounts.check_account() if not finding.is_ok]


def test_a_good_account_has_no_faults(either: FakeGithub, repository: Repository, settings: Any) -> None:
    settings.TRACKER_GITHUB_WEBHOOK_SECRETS = [SECRET]
    assert faults() == []
    told = " ".join(finding.what for finding in public_accounts.check_account())
    assert REPOSITORY in told and "Quota" in told and TOKEN not in told


def test_every_fault_has_a_remedy(app_server: FakeGithub, repository: Repository, settings: Any) -> None:
    settings.TRACKER_GITHUB_WEBHOOK_SECRETS = ["short"]
    our_app(app_server).permissions.pop("checks")
    app_server.world.set_app_permissions(our_installation(app_server), {"issues": "read", "contents": "write"})
    app_server.world.repository(REPOSITORY).has_issues = False
    app_server.world.repository(REPOSITORY).archived = True
    found = faults()
    told = "\n".join(finding.what for finding in found)
    for words in ("secret is short", "The App lacks checks: read", "on acme lacks issues: write", "archived", "off"):
        assert words in told
    assert all(finding.remedy for finding in found)


def test_a_person_without_write_is_told(server: FakeGithub, repository: Repository) -> None:
    server.world.set_permission(REPOSITORY, "agent-bot", "read")
    assert any("agent-bot may not write" in finding.what for finding in faults())


def test_missing_settings_are_told(server: FakeGithub, settings: Any) -> None:
    settings.TRACKER_GITHUB_TOKEN = ""
    settings.TRACKER_GITHUB_WEBHOOK_SECRETS = []
    first, second = faults()
    assert "GITHUB_TOKEN" in first.remedy
    assert "GITHUB_WEBHOOK_SECRET" in second.remedy


def test_a_refused_token_is_told(server: FakeGithub, repository: Repository) -> None:
    server.world.tokens.clear()
    assert any("renew GITHUB_TOKEN" in finding.remedy for finding in faults())


def test_a_repository_without_the_app_is_told(app_server: FakeGithub, repository: Repository) -> None:
    app_server.world.remove_installation(our_installation(app_server))
    assert any("not installed on acme/widgets" in finding.remedy for finding in faults())


def test_a_wrong_clock_is_told(server: FakeGithub) -> None:
    ahead = checkup.check(now=timezone.now() + timedelta(minutes=2))
    assert any("s ahead of GitHub's" in finding.what and "NTP" in finding.remedy for finding in ahead)


def test_a_low_quota_is_told(server: FakeGithub, repository: Repository) -> None:
    world = server.world
    world.spent[f"user:{world.user('agent-bot').id}"] = (world.now() + timedelta(hours=1), 4_500)
    assert any(finding.what.startswith("Quota: 4") for finding in faults())
