"""The words of conversations: what a message of each kind may say as facts, so that programs can compute with it. Pure.

`chat` is words alone. Every other kind may carry facts, and some must. There is no kind that stops an agent: that is `cancel`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from coordinator.documents.untrusted import one_line, printable
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import MessageKind

K = MessageKind
FOLDED = frozenset({K.STATUS, K.BLOCKED})
"""Of these only the last of each sender counts: it says how things are."""
ASKING = frozenset({K.QUESTION, K.BLOCKED, K.CONFLICT})
"""Somebody waits for an answer: an agent that does not run is looked at because of it. Requests for upgrades wake by themselves."""
MAX_DATA_CHARACTERS = 4_000
_CANCEL = frozenset({"stop", "cancel", "kill", "abort"})
_MAX_COUNT = 1_000_000_000


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


_MAX_LINE = 300


def _line(value: object) -> object:
    """What can be seen of a text; before its length is looked at, so that nothing visible is nothing."""
    return one_line(value, _MAX_LINE) if isinstance(value, str) and len(value) <= _MAX_LINE else value


def _visible(text: str) -> str:
    if printable(text) != text:
        raise ValueError("it has characters that nobody can see")
    return text


_Line = Annotated[str, Field(max_length=_MAX_LINE), BeforeValidator(_line)]
_Needed = Annotated[str, Field(min_length=1, max_length=_MAX_LINE), BeforeValidator(_line)]
_Branch = Annotated[str, Field(max_length=250, pattern=r"^[^\s~^:?*\[\\\x00-\x1f]*$"), AfterValidator(_visible)]
_Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{7,64})?$")]
_Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
_Number = Annotated[int, Field(ge=1, le=2**53)]


class Chat(_Facts):
    """Words alone."""


class Status(_Facts):
    """How far somebody is."""

    state: _Line = ""
    intent: _Line = ""
    """What comes next."""
    done: _Count | None = None
    total: _Count | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.done is not None and self.total is not None and self.done > self.total:
            raise ValueError(f"done is {self.done}, more than the total of {self.total}")
        return self


class Question(_Facts):
    """What somebody must know to go on."""

    options: Annotated[list[_Needed], Field(max_length=10)] = []
    """Answers among which one is to be chosen."""


class Answer(_Facts):
    """To a question."""

    post: _Number | None = None
    """Number of the message that it answers."""
    choice: _Line = ""


class Blocked(_Facts):
    """Somebody cannot go on."""

    on: _Needed
    """What is missing."""
    whom: _Line = ""
    """Who has it or decides it: `parent`, an agent's number, `a person`."""


class Handoff(_Facts):
    """Work is passed on."""

    what: _Needed
    branch: _Branch = ""
    commit: _Commit = ""


class Result(_Facts):
    """What came of something."""

    outcome: Literal["done", "partly", "failed"] = "done"
    branch: _Branch = ""
    commit: _Commit = ""


class Conflict(_Facts):
    """Two agents want what only one can have; further facts are the conflict's own."""

    model_config = ConfigDict(strict=True, extra="allow")
    conflict: _Number


class UpgradeRequest(_Facts):
    """Somebody asks for more than it holds."""

    request: _Number
    more: Annotated[list[_Line], Field(max_length=20)] = []


MODELS: Mapping[MessageKind, type[_Facts]] = {
    K.CHAT: Chat,
    K.STATUS: Status,
    K.QUESTION: Question,
    K.ANSWER: Answer,
    K.BLOCKED: Blocked,
    K.HANDOFF: Handoff,
    K.RESULT: Result,
    K.CONFLICT: Conflict,
    K.UPGRADE_REQUEST: UpgradeRequest,
}


def kind_of(word: str) -> MessageKind:
    """The kind that a word names. Raises InvalidInputError that says what there is."""
    try:
        return MessageKind(word)
    except ValueError:
        if word.lower() in _CANCEL:
            raise InvalidInputError(
                f"{word[:20]!r} is no message: an agent is stopped by `manage.py cancel`, not told to stop"
            ) from None
        raise InvalidInputError(
            f"there is no kind {one_line(word, 40)!r}; there are {', '.join(MessageKind)}"
        ) from None


def read(kind: MessageKind, data: Mapping[str, Any] | None) -> _Facts:
    """The facts of a message, checked.

    Raises:
        InvalidInputError: Names each key that is wrong or missing, and never repeats a value.
    """
    said = dict(data or {})
    if len(json.dumps(said, default=str)) > MAX_DATA_CHARACTERS:
        raise InvalidInputError(f"data has more than {MAX_DATA_CHARACTERS:,} characters; say the rest in the text")
    try:
        return MODELS[kind].model_validate(said)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        words = "; ".join(
            f"{'.'.join(str(part)[:60] for part in one['loc']) or 'data'}: {one['msg']}" for one in found[:5]
        )
        known = ", ".join(MODELS[kind].model_fields) or "none: it is words alone"
        raise InvalidInputError(f"data of {kind}: {words}. Its keys: {known}") from error


def plain(kind: MessageKind, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same as plain JSON, without what was left out. Raises InvalidInputError."""
    return read(kind, data).model_dump(mode="json", exclude_defaults=True)


def in_words(kind: MessageKind, data: Mapping[str, Any]) -> str:
    """The facts in one line: `writing tests, 3 of 7`; empty when there are none. Of what cannot be read, the bare facts."""
    try:
        facts = read(kind, data)
    except InvalidInputError:  # written by another version of this program
        return one_line(json.dumps(dict(data), default=str), 300)
    match facts:
        case Status():
            counted = (
                "" if facts.done is None else str(facts.done) + ("" if facts.total is None else f" of {facts.total}")
            )
            parts = [facts.state, counted, facts.intent and f"next: {facts.intent}"]
        case Question():
            parts = [f"choose one of: {' | '.join(facts.options)}" if facts.options else ""]
        case Answer():
            parts = [f"to message {facts.post}" if facts.post else "", facts.choice]
        case Blocked():
            parts = [f"blocked on {facts.on}", facts.whom and f"needs {facts.whom}"]
        case Handoff() | Result():
            what = facts.what if isinstance(facts, Handoff) else str(facts.outcome)
            parts = [what, facts.branch and f"branch {facts.branch}", facts.commit and f"commit {facts.commit}"]
        case Conflict():
            parts = [f"conflict {facts.conflict}"]
        case UpgradeRequest():
            parts = [f"request {facts.request}", *facts.more]
        case _:
            parts = []
    return one_line(", ".join(part for part in parts if part), 600)
