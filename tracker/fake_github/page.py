"""A page to look at: issues and pull requests with labels and comments, read-only."""

from __future__ import annotations

import html
import re

from tracker.fake_github.records import Issue, Repository
from tracker.fake_github.store import Store

# Everything shown was written by others: escaped here, and the browser is told to run and load nothing.
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_ITEM = re.compile(r"/([^/]+)/([^/]+)/(?:issues|pull)/([1-9][0-9]{0,9})")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}
a{color:#0550ae}li{margin:.3rem 0}.label{border:1px solid #6e7781;border-radius:1rem;padding:0 .5rem;font-size:.8rem}
.state{font-weight:600}article{border:1px solid #d0d7de;border-radius:6px;padding:.2rem 1rem;margin:1rem 0}
pre{white-space:pre-wrap;overflow-wrap:anywhere}"""
_PRIVATE = (
    "This fake GitHub shows everything to whoever can reach it on this machine. Change things through the API or git."
)


def is_page(path: str) -> bool:
    """Whether a path is for people."""
    return path in ("/", "/index.html") or (_ITEM.fullmatch(path) is not None and not path.startswith("/repos/"))


def render(store: Store, path: str) -> str | None:
    """The page of a path; None when there is nothing. The lock is held."""
    match = _ITEM.fullmatch(path)
    if match is None:
        parts = [_repository(store, one) for one in store.state.repositories.values()]
        return _page("Fake GitHub", f"<h1>Fake GitHub</h1><p>{_text(_PRIVATE)}</p>" + "".join(parts))
    for repository in store.state.repositories.values():
        if store.full_name(repository).casefold() == f"{match[1]}/{match[2]}".casefold():
            issue = repository.issues.get(int(match[3]))
            return None if issue is None else _issue(store, repository, issue)
    return None


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>{body}</body></html>'
    )


def _text(value: str | None) -> str:
    return html.escape(value or "", quote=True)


def _state(issue: Issue) -> str:
    if issue.pull and issue.pull.merged_at:
        return "merged"
    return "draft" if issue.pull and issue.pull.draft and issue.state == "open" else issue.state


def _labels(repository: Repository, issue: Issue) -> str:
    names = [repository.labels[label_id].name for label_id in issue.labels]
    return " ".join(f'<span class="label">{_text(name)}</span>' for name in names)


def _link(store: Store, issue: Issue) -> str:
    kind = "pull" if issue.pull else "issues"
    address = f"/{store.full_name(store.repository_of(issue))}/{kind}/{issue.number}"
    return f'<a href="{_text(address)}">#{issue.number} {_text(issue.title)}</a>'


def _line(store: Store, issue: Issue) -> str:
    labels = _labels(store.repository_of(issue), issue)
    return f'<li>{_link(store, issue)} <span class="state">{_state(issue)}</span> {labels}</li>'


def _repository(store: Store, repository: Repository) -> str:
    made = f"<h2>{_text(store.full_name(repository))}</h2>"
    newest = sorted(repository.issues.values(), key=lambda issue: -issue.number)
    for heading, found in (
        ("Issues", [issue for issue in newest if issue.pull is None]),
        ("Pull requests", [issue for issue in newest if issue.pull]),
    ):
        lines = "".join(_line(store, issue) for issue in found) or "<li>none yet</li>"
        made += f"<h3>{heading}</h3><ul>{lines}</ul>"
    return made


def _post(author: str, at: str, body: str | None) -> str:
    return f"<article><p><strong>{_text(author)}</strong> {_text(at)}</p><pre>{_text(body)}</pre></article>"


def _issue(store: Store, repository: Repository, issue: Issue) -> str:
    made = f'<p><a href="/">All</a></p><h1>#{issue.number} {_text(issue.title)}</h1>'
    made += f'<p><span class="state">{_state(issue)}</span> {_labels(repository, issue)}</p>'
    if issue.assignees:
        made += f"<p>Assigned: {_text(', '.join(store.login(user_id) for user_id in issue.assignees))}</p>"
    if issue.pull:
        made += f"<p>{_text(issue.pull.head)} into {_text(issue.pull.base)}</p>"
    for heading, ids in (
        ("Parent", [issue.parent] if issue.parent else []),
        ("Sub-issues", issue.children),
        ("Blocked by", issue.blocked_by),
    ):
        if ids:
            made += f"<h3>{heading}</h3><ul>{''.join(_line(store, store.issue_by_id(one)) for one in ids)}</ul>"
    made += _post(store.login(issue.user_id), issue.created_at, issue.body)
    for comment in repository.comments.values():
        if comment.issue == issue.number:
            made += _post(store.login(comment.user_id), comment.created_at, comment.body)
    for review in issue.pull.reviews if issue.pull else ():
        made += _post(f"{store.login(review.user_id)} ({review.state})", review.submitted_at, review.body)
    for note in issue.pull.review_comments if issue.pull else ():
        made += _post(f"{store.login(note.user_id)} on {note.path}:{note.line}", note.created_at, note.body)
    return _page(f"#{issue.number} {issue.title}", made)
