"""Whether a repository's name is still its own: once given up, anybody may take a name and be admin there.

GitHub's API goes by names, and a personal token reaches whatever has one. So nothing is read, written or pushed under a
name that was not compared with the repository's number a moment ago.
"""

from __future__ import annotations

from tracker.conf import conf
from tracker.github import tokens
from tracker.github.calls import Calls
from tracker.models import Repository
from tracker.public_errors import NotFoundError, NotOursError

_KEPT_SECONDS = 60
"""For calls to the API. Before each fetch and push it is asked anew."""

_REMEDY = "`manage.py github add OWNER/REPO` with the name that ours has now puts it right."


def check(calls: Calls, repository: Repository, *, afresh: bool = False) -> None:
    """Make sure that the repository under care has this name; one whose number we do not know is let through.

    Args:
        afresh: Ask GitHub, however short a time ago that was done.

    Raises:
        NotOursError: Another repository has it now, or none that is shown to us.
        TrackerError: GitHub could not be asked.
    """
    if repository.remote_id is None:
        return
    key = f"tracker:github:name:{conf().api_url}:{repository.scope.lower()}"
    if not afresh and tokens.cached(key) == repository.remote_id:
        return
    try:
        _, _, found = calls.json("GET", f"/repos/{repository.scope}")
    except NotFoundError as error:
        raise NotOursError(f"{repository.scope} is gone, or not shown to us any more. {_REMEDY}") from error
    number = found.get("id") if isinstance(found, dict) else None
    if number != repository.remote_id:
        raise NotOursError(f"{repository.scope} is another repository than the one under care. {_REMEDY}")
    tokens.keep(key, number, seconds=_KEPT_SECONDS)
