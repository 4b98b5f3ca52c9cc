"""Something happened to a pull request: its agent follows, and the commands that people gave there are carried out."""

from __future__ import annotations

from coordinator.agents.integration import GITHUB
from coordinator.documents import slash_commands
from coordinator.ending import changes
from coordinator.issues import orders
from coordinator.rules.authority import Person
from tracker import public_api as tracker
from tracker import public_sync
from tracker.public_types import Hint


def take_up(repository_id: int, hint: Hint) -> None:
    """Look at the pull requests that a hint is about. Call it outside a transaction.

    What is said beside a command is written down before that is carried out: the run that `/agent retry` starts takes it up.

    Raises:
        TrackerError: The tracker could not be asked; take the hint up again later.
    """
    if _is_outsiders_command(repository_id, hint):
        return
    for looked in changes.look(repository_id, hint):
        try:
            orders.take_up_said(repository_id, looked, hint)
        finally:
            changes.follow(looked)  # what was written down is no news for another look


def _is_outsiders_command(repository_id: int, hint: Hint) -> bool:
    """Whether somebody gives commands who may give none; operators can see so, and nothing is read for it."""
    if not (hint.comment_id and hint.actor and slash_commands.parse(hint.text)):
        return False
    if tracker.get_repository(repository_id).tracker != GITHUB:
        return False
    found = public_sync.standing(repository_id, hint.actor)
    by = Person(login=found.login, trust=found.trust, is_bot=found.is_bot)
    if by.may_steer:
        return False
    orders.overhear(hint, by)
    return True
