"""The worlds that the tracker contract runs in: a tracker, and the people who act in it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Protocol, cast

from django.contrib.auth import get_user_model
from django.core.cache import cache

from tracker import public_api
from tracker.base import Tracker
from tracker.fake_github import FakeGithub
from tracker.local import people
from tracker.models import Reaction
from tracker.public_types import CommentView, IssueDraft, Ref


class TrackerWorld(Protocol):
    """A tracker with one empty repository `scope`; `alice` may write, `rita` may read, `adam` administers."""

    @property
    def tracker(self) -> Tracker: ...
    @property
    def scope(self) -> str: ...

    def person_opens(self, *, title: str, author: str) -> Ref: ...
    def person_edits(self, ref: Ref, *, title: str, body: str) -> None: ...
    def person_comments(self, ref: Ref, *, author: str, text: str) -> CommentView: ...
    def person_labels(self, ref: Ref, name: str, *, present: bool = True) -> None: ...
    def person_assigns(self, ref: Ref, login: str) -> None: ...
    def person_unlinks(self, parent: Ref, child: Ref) -> None: ...
    def person_reopens(self, ref: Ref) -> None: ...
    def reactions(self, ref: Ref) -> list[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWorld:
    tracker: Tracker
    scope: str

    def person_opens(self, *, title: str, author: str) -> Ref:
        return people.create(scope=self.scope, draft=IssueDraft(title=title), author=author).ref

    def person_edits(self, ref: Ref, *, title: str, body: str) -> None:
        people.edit(ref=ref, title=title, body=body)

    def person_comments(self, ref: Ref, *, author: str, text: str) -> CommentView:
        return people.comment(ref=ref, author=author, markdown=text)

    def person_labels(self, ref: Ref, name: str, *, present: bool = True) -> None:
        people.set_label(ref=ref, name=name, present=present)

    def person_assigns(self, ref: Ref, login: str) -> None:
        people.set_assignee(ref=ref, login=login, present=True)

    def person_unlinks(self, parent: Ref, child: Ref) -> None:
        people.unlink_child(parent=parent, child=child)

    def person_reopens(self, ref: Ref) -> None:
        people.reopen(ref=ref)

    def reactions(self, ref: Ref) -> list[str]:
        found = Reaction.objects.filter(issue__repository__scope=ref.scope, issue__key=ref.key)
        return sorted(found.values_list("kind", flat=True))


def local_world() -> LocalWorld:
    repository = public_api.ensure_repository(
        tracker="local", scope="acme/widgets", source="/srv/git/widgets.git", default_branch="main"
    )
    users = get_user_model().objects
    users.create(username="adam", is_staff=True, is_superuser=True)
    users.create(username="alice", is_staff=True)
    users.create(username="rita")
    users.create(username="gone", is_staff=True, is_active=False)
    return LocalWorld(tracker=public_api.tracker_for(repository.id), scope=repository.scope)


# --- GitHub --------------------------------------------------------------------------------------------------------

_scopes = itertools.count(1)


class _Ticking:
    """A tracker whose every call comes a second after the one before: GitHub tells time in whole seconds."""

    def __init__(self, tracker: Tracker, server: FakeGithub) -> None:
        self._tracker, self._server = tracker, server

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tracker, name)
        if callable(found):
            self._server.world.advance(1)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GithubWorld:
    """A repository on the fake GitHub, over HTTP."""

    tracker: Tracker
    scope: str
    server: FakeGithub

    def act(self, login: str) -> Any:
        self.server.world.advance(1)
        return self.server.world.act(login, self.scope)

    def person_opens(self, *, title: str, author: str) -> Ref:
        return Ref(self.scope, str(self.act(author).open_issue(title)))

    def person_edits(self, ref: Ref, *, title: str, body: str) -> None:
        self.act("adam").edit_issue(int(ref.key), title, body)

    def person_comments(self, ref: Ref, *, author: str, text: str) -> CommentView:
        comment_id = self.act(author).comment(int(ref.key), text)
        (found,) = [comment for comment in self.tracker.comments(ref) if comment.id == str(comment_id)]
        return found

    def person_labels(self, ref: Ref, name: str, *, present: bool = True) -> None:
        adam = self.act("adam")
        (adam.add_label if present else adam.remove_label)(int(ref.key), name)

    def person_assigns(self, ref: Ref, login: str) -> None:
        self.act("adam").assign(int(ref.key), login)

    def person_unlinks(self, parent: Ref, child: Ref) -> None:
        self.act("adam").remove_sub_issue(int(parent.key), int(child.key))

    def person_reopens(self, ref: Ref) -> None:
        self.act("adam").reopen(int(ref.key))

    def reactions(self, ref: Ref) -> list[str]:
        adam = self.act("adam")
        number = int(ref.key)
        root = "/issues"
        found = adam.api("GET", f"{root}/{number}/reactions")
        for comment in adam.comments(number):
            found += adam.api("GET", f"{root}/comments/{comment['id']}/reactions")
        return sorted(reaction["content"] for reaction in found)


def github_world(server: FakeGithub, settings: Any) -> GithubWorld:
    scope = f"acme/widgets-{next(_scopes)}"
    server.world.faults.clear()
    server.world.add_repository(scope, {"adam": "admin", "alice": "write", "rita": "read", "agent-bot": "write"})
    server.world.add_user("gone")
    server.world.add_token("the-bots-token", "agent-bot")
    settings.TRACKER_GITHUB_API_URL = server.url
    settings.TRACKER_GITHUB_APP_ID = ""
    settings.TRACKER_GITHUB_TOKEN = "the-bots-token"
    settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = 0
    cache.clear()
    repository = public_api.ensure_repository(
        tracker="github", scope=scope, source=f"{server.url}/{scope}.git", default_branch="main"
    )
    tracker = _Ticking(public_api.tracker_for(repository.id), server)
    return GithubWorld(tracker=cast(Tracker, tracker), scope=scope, server=server)
