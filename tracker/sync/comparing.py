"""The mirror beside GitHub: every difference, found by reading all issues again and storing nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tracker import labels, queries
from tracker.github import markers, wire
from tracker.github.session import open_session
from tracker.github.wire import RemoteIssue
from tracker.models import Issue, Repository
from tracker.public_types import AgentState
from tracker.sync import pages

_EVER = datetime(2000, 1, 1, tzinfo=UTC)
_ENOUGH_PAGES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference between an issue and its mirror."""

    key: str
    what: str
    """`missing here`, `gone there`, `two state labels`, or the field that differs."""
    ours: str
    theirs: str


def compare(repository_id: int, *, progress: Callable[[int], None] = lambda _: None) -> list[Drift]:
    """Every difference, by number.

    Args:
        progress: Called after each page with how many issues were compared.

    Raises:
        TrackerError: GitHub did not let us look at all of it.
    """
    repository = queries.repository(repository_id)
    seen: set[str] = set()
    found: list[Drift] = []
    with open_session(repository) as session:
        path = f"{session.path}/issues?state=all"
        for answer in pages.changed_since(session, path, since=_EVER, most=_ENOUGH_PAGES):
            remotes = [wire.issue(item, us=session.login) for item in answer.items]
            fresh = [remote for remote in remotes if not remote.is_pull and remote.key not in seen]
            seen |= {remote.key for remote in fresh}
            found += _compare(repository, fresh)
            progress(len(seen))
    here = Issue.objects.filter(repository=repository, is_open=True).exclude(key__in=seen)
    found += [Drift(key=key, what="gone there", ours="open", theirs="") for key in here.values_list("key", flat=True)]
    return sorted(found, key=lambda drift: (len(drift.key), drift.key, drift.what))


def _compare(repository: Repository, remotes: list[RemoteIssue]) -> list[Drift]:
    rows = Issue.objects.filter(repository=repository, key__in=[remote.key for remote in remotes])
    known = {row.key: row for row in rows.select_related("parent").prefetch_related("labels", "assignees")}
    found = []
    for remote in remotes:
        row = known.get(remote.key)
        if row is None:
            found.append(Drift(key=remote.key, what="missing here", ours="", theirs=_short(remote.title)))
        else:
            found += [
                Drift(key=remote.key, what=what, ours=_short(ours), theirs=_short(theirs))
                for what, ours, theirs in _pairs(repository, row, remote)
                if ours != theirs
            ]
        states = sorted(name for name in remote.label_names if labels.state_of(name) is not None)
        if len(states) > 1:
            found.append(Drift(key=remote.key, what="two state labels", ours="", theirs=", ".join(states)))
        elif states and not remote.is_open:
            found.append(Drift(key=remote.key, what="label on a closed issue", ours="", theirs=states[0]))
    return found


def _pairs(repository: Repository, row: Issue, remote: RemoteIssue) -> list[tuple[str, str, str]]:
    parent = (
        remote.parent.key if remote.parent and remote.parent.scope.casefold() == repository.scope.casefold() else ""
    )
    return [
        ("title", row.title, remote.title),
        ("body", row.body, markers.without_key(remote.body)),
        ("state", _open(is_open=row.is_open), _open(is_open=remote.is_open)),
        ("agent label", str(AgentState(row.agent_state)), str(remote.agent_state)),
        ("labels", _joined(label.name for label in row.labels.all()), _joined(remote.plain_labels)),
        ("assignees", _joined(one.login for one in row.assignees.all()), _joined(remote.assignees)),
        ("parent", row.parent.key if row.parent else "", parent),
    ]


def _open(*, is_open: bool) -> str:
    return "open" if is_open else "closed"


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"
