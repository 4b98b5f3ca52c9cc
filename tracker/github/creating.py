"""Issues that we open, each once: found again by a signed line at the end of their text."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction

from tracker import labels, limits
from tracker.conf import conf
from tracker.github import attempts, markers, mirror, wire, written
from tracker.github.desk import Desk
from tracker.github.wire import RemoteIssue
from tracker.models import Issue
from tracker.public_errors import ChangedError
from tracker.public_types import IssueDraft, Ref

_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_LOOK_THROUGH = 500
"""Issues changed since the first attempt, the latest created first."""


def create(desk: Desk, draft: IssueDraft, dedupe_key: str, *, rest: timedelta) -> Issue:
    """The row of the one issue of this dedupe key, created unless it exists.

    Raises:
        InvalidError: The draft breaks a limit.
        UnavailableError: With `maybe_applied`, calling again finds the issue if it was created.
    """
    limits.name(dedupe_key, field="dedupe_key")
    title, body = limits.title(draft.title), limits.body(draft.body)
    state, names = labels.split(limits.labels(draft.labels))
    known = Issue.objects.filter(repository=desk.repository, dedupe_key=dedupe_key).first()
    if known is not None:
        return known
    marked = markers.issue_body(_pinging_nobody(body), dedupe_key=dedupe_key, secret=conf().marker_key)
    name = f"issue:{dedupe_key}"
    attempt = attempts.earlier(desk.repository, name)
    if attempt is not None:
        found = _find(desk, dedupe_key, since=attempts.since(attempt))
        if found is not None:
            return _keep(desk, found, dedupe_key, name)
        attempts.check_rest(attempt, rest=rest)
    with attempts.creating(desk.repository, name), desk.calling(write=True):
        made = desk.session.repo.create_issue(title, marked, labels=[*names, *labels.of_state(state)])
    return _keep(desk, wire.issue(wire.raw(made), us=desk.us), dedupe_key, name)


def edit(desk: Desk, ref: Ref, *, title: str, body: str, was: str = "") -> RemoteIssue:
    """Replace an issue's texts; the line by which one of ours is found again stays.

    Raises:
        InvalidError: A text breaks a limit.
        ChangedError: See `tracker.base.Tracker.edit`.
    """
    title, body = limits.title(title), limits.body(body)
    remote, row = desk.issue(ref), mirror.find(desk.repository, ref.key)
    marked = markers.with_key_of(remote.body, _pinging_nobody(body))
    if (remote.title, remote.body) != (title, marked):
        if was and was != limits.text_digest(title=remote.title, body=markers.without_key(remote.body)):
            raise ChangedError(f"somebody has changed the texts of {ref}; they were left as they are")
        with desk.calling(write=True):
            desk.handle(ref.key).edit(title=title, body=marked)
        remote = replace(remote, title=title, body=marked)
    if row:
        written.texts(row, title=title, body=markers.without_key(marked))
    return remote


def _pinging_nobody(body: str) -> str:
    """The text with its mentions broken by a zero-width space, which no prompt keeps: its words are an agent's.

    In code too: where code ends for GitHub is nothing that we could tell for certain.
    """
    return _MENTION.sub("@\u200b", body)


def _find(desk: Desk, dedupe_key: str, *, since: datetime) -> RemoteIssue | None:
    """The oldest issue of ours that carries this key."""
    with desk.calling():
        listing = desk.session.repo.get_issues(state="all", sort="created", direction="desc", since=since)
        found = [wire.issue(wire.raw(thing), us=desk.us) for thing in itertools.islice(listing, _LOOK_THROUGH)]
    secret = conf().marker_key
    ours = [
        remote
        for remote in found
        if remote.is_ours and not remote.is_pull and markers.has_key(remote.body, dedupe_key=dedupe_key, secret=secret)
    ]
    return min(ours, key=lambda remote: remote.number, default=None)


def _keep(desk: Desk, remote: RemoteIssue, dedupe_key: str, name: str) -> Issue:
    with transaction.atomic():
        row = mirror.store_issue(desk.repository, remote, trust=None)
        Issue.objects.filter(pk=row.pk).update(dedupe_key=dedupe_key)
        attempts.done(desk.repository, name)
    return row
