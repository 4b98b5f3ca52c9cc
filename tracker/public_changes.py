"""Pull requests: what is known of them, and reading them anew. Errors are those of `tracker.public_errors`."""

from __future__ import annotations

from tracker import queries
from tracker.github import changes
from tracker.github import feedback as said
from tracker.models import Change, Repository
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import ChangeView, Feedback


def change_of_branch(repository_id: int, branch: str) -> ChangeView | None:
    """Our pull request of this branch as last read: the open one, else the latest. Forks' and people's are not ours.

    Raises:
        NotFoundError: No such repository.
    """
    repository = queries.repository(repository_id)
    rows = Change.objects.filter(repository=repository, head_branch=branch, is_ours=True)
    found = rows.order_by("-is_open", "-updated_at", "-id").first()
    return changes.view(found, scope=repository.scope) if found else None


def get_change(repository_id: int, key: str) -> ChangeView:
    """A pull request as last read.

    Raises:
        NotFoundError: We have not read any such pull request.
    """
    repository = queries.repository(repository_id)
    found = Change.objects.filter(repository=repository, key=key).first()
    if found is None:
        raise NotFoundError(f"No pull request {key[:40]!r} of {repository.scope} has been read yet.")
    return changes.view(found, scope=repository.scope)


def find_changes(repository_id: int, head_sha: str) -> list[ChangeView]:
    """Pull requests whose head was this commit when they were last read, open ones first; nothing is asked for.

    Raises:
        NotFoundError: No such repository.
    """
    repository = queries.repository(repository_id)
    rows = Change.objects.filter(repository=repository, head_sha=head_sha) if head_sha else Change.objects.none()
    return [changes.view(row, scope=repository.scope) for row in rows.order_by("-is_open", "-updated_at", "-id")]


def refresh_change(repository_id: int, key: str) -> ChangeView:
    """Read a pull request and its checks from the tracker. Call it outside any transaction.

    Raises:
        NotFoundError: No such repository or pull request.
        InvalidError: The repository's tracker has no pull requests.
        TrackerError: The tracker could not be asked.
    """
    return changes.refresh(_repository(repository_id), key)


def feedback(repository_id: int, key: str) -> list[Feedback]:
    """What people and failed checks say about a pull request, oldest first, read from the tracker.

    Authors' rights are looked up. What bots (but for those allowed) and we ourselves said is left out. Call it outside
    any transaction.

    Raises:
        NotFoundError, InvalidError, TrackerError: As for `refresh_change`.
    """
    return said.read(_repository(repository_id), key)


def _repository(repository_id: int) -> Repository:
    found = queries.repository(repository_id)
    if found.tracker != Repository.Kind.GITHUB:
        raise InvalidError(f"{found.scope} has its issues in {found.tracker}, which has no pull requests.")
    return found
