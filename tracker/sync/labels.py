"""The labels that a repository needs."""

from __future__ import annotations

from dataclasses import dataclass

from tracker import queries
from tracker.github.labelling import COLOURS
from tracker.github.session import open_session
from tracker.public_errors import ConflictError, InvalidError
from tracker.sync import pages

_MAX_PAGES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStatus:
    """A label of ours and whether the repository has it."""

    name: str
    colour: str
    """Six hexadecimal digits."""
    description: str
    exists: bool


def read(repository_id: int) -> list[LabelStatus]:
    """Our labels, and which of them the repository has.

    Raises:
        TrackerError: GitHub did not let us look.
    """
    repository = queries.repository(repository_id)
    with open_session(repository) as session:
        path = f"{session.path}/labels?per_page={pages.PER_PAGE}"
        found = {
            str(item.get("name", "")).casefold()
            for page in pages.each(session, path, most=_MAX_PAGES)
            for item in page.items
        }
    return [
        LabelStatus(name=name, colour=colour, description=text, exists=name.casefold() in found)
        for name, (colour, text) in COLOURS.items()
    ]


def create(repository_id: int) -> list[str]:
    """Create the labels that are missing; returns their names. Calling it again does nothing.

    Raises:
        TrackerError: GitHub did not let us. What was created stays.
    """
    repository = queries.repository(repository_id)
    missing = [label for label in read(repository_id) if not label.exists]
    with open_session(repository) as session:
        for label in missing:
            body = {"name": label.name, "color": label.colour, "description": label.description}
            try:
                session.json("POST", f"{session.path}/labels", body)
            except (InvalidError, ConflictError):
                # Somebody was faster, or an answer was lost; anything else shows when we look again.
                if not next(one for one in read(repository_id) if one.name == label.name).exists:
                    raise
    return [label.name for label in missing]
