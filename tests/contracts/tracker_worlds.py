"""The worlds that the tracker contract runs in: a tracker, and the people who act in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from django.contrib.auth import get_user_model

from tracker import public_api
from tracker.base import Tracker
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
