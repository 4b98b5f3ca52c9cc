"""The kinds of writes: what their payloads look like and which calls of a tracker carry them out. No database here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tracker import limits
from tracker.base import CodeHost, Tracker
from tracker.public_errors import ChangedError, InvalidError, NotProposableError
from tracker.public_types import AgentState, CloseReason, IssueDraft, Ref, Write, WriteKind

PAYLOAD_MAX_CHARS = 300_000


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_key(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and set(value) == {"from"} and _is_text(value["from"]))


def _is_keys(value: object) -> bool:
    return isinstance(value, list) and all(_is_key(item) for item in value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_state(value: object) -> bool:
    return value in [state.value for state in AgentState]


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_reason(value: object) -> bool:
    return value in [reason.value for reason in CloseReason]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    fits: Callable[[object], bool]
    wants: str
    is_needed: bool = True


_KEY = 'an issue key or {"from": KEY}'
_REF = _Field("ref", _is_key, _KEY)
_FIELDS: dict[WriteKind, tuple[_Field, ...]] = {
    WriteKind.CREATE_ISSUE: (
        _Field("title", _is_text, "a text"),
        _Field("body", _is_text, "a text", is_needed=False),
        _Field("labels", _is_texts, "a list of texts", is_needed=False),
        _Field("parent", _is_key, _KEY, is_needed=False),
        _Field("blockers", _is_keys, f"a list, each {_KEY}", is_needed=False),
    ),
    WriteKind.LINK_CHILD: (
        _Field("parent", _is_key, _KEY),
        _Field("child", _is_key, _KEY),
        _Field("after", _is_key, _KEY, is_needed=False),
        _Field("replace", _is_flag, "true or false", is_needed=False),
    ),
    WriteKind.SET_BLOCKERS: (_REF, _Field("blockers", _is_keys, f"a list, each {_KEY}")),
    WriteKind.SET_STATE: (_REF, _Field("state", _is_state, "an AgentState")),
    WriteKind.UPSERT_COMMENT: (
        _REF,
        _Field("slot", _is_text, "a text"),
        _Field("data", _is_object, "an object", is_needed=False),
        _Field("markdown", _is_text, "a text"),
    ),
    WriteKind.CLOSE: (_REF, _Field("reason", _is_reason, "a CloseReason")),
    WriteKind.ASSIGN: (_REF, _Field("actor", _is_text, "a login")),
    WriteKind.REACT: (_REF, _Field("kind", _is_text, "a text"), _Field("comment", _is_text, "a text", is_needed=False)),
    WriteKind.SET_LABEL: (_REF, _Field("name", _is_text, "a text"), _Field("present", _is_flag, "true or false")),
    WriteKind.REOPEN: (_REF,),
    WriteKind.OPEN_CHANGE: (
        _REF,
        *(_Field(name, _is_text, "a text") for name in ("head", "base", "title", "body")),
        _Field("outlived", _is_text, "the number of a pull request", is_needed=False),
    ),
    WriteKind.MARK_READY: (_REF, _Field("head", _is_text, "a text")),
    WriteKind.EDIT: (
        _REF,
        *(_Field(name, _is_text, "a text") for name in ("title", "body")),
        _Field("was", _is_text, "a digest", is_needed=False),
    ),
}
_REFERENCES = ("ref", "parent", "child", "after", "blockers")


def checked(write: Write) -> dict[str, Any]:
    """The payload of a well-formed write, its texts cleaned; optional fields that are None are dropped.

    Looks at shapes only: what a tracker refuses (a title too long) fails when the write is carried out, where people
    see it, and not in the transaction of whoever wished for it.

    Raises:
        InvalidError: Bad key, missing, unknown or misshapen field, too large, or a create that coalesces.
    """
    limits.name(write.key, field="key")
    if write.coalesce:
        limits.name(write.coalesce, field="coalesce")
        if write.kind is WriteKind.CREATE_ISSUE:
            raise InvalidError(f"{write.key}: a create_issue cannot replace another; clear coalesce.", field="coalesce")
    payload: dict[str, Any] = limits.clean_json({k: v for k, v in write.payload.items() if v is not None})
    fields = {field.name: field for field in _FIELDS[write.kind]}
    if unknown := payload.keys() - fields.keys():
        raise InvalidError(f"{write.key}: {write.kind} has no field {min(unknown)!r}.", field="payload")
    for name, field in fields.items():
        if (name in payload or field.is_needed) and not field.fits(payload.get(name)):
            raise InvalidError(f"{write.key}: {write.kind} wants {field.wants} as {name!r}.", field=name)
    size = len(json.dumps(payload))
    if size > PAYLOAD_MAX_CHARS:
        raise InvalidError(f"{write.key}: the payload has {size} characters of {PAYLOAD_MAX_CHARS}.", field="payload")
    return payload


def predecessors(payload: Mapping[str, Any]) -> set[str]:
    """Keys of the writes whose issues this payload names as `{"from": KEY}`."""
    values: list[object] = []
    for name in _REFERENCES:
        value = payload.get(name)
        values.extend(value if isinstance(value, list) else [value])
    return {value["from"] for value in values if isinstance(value, dict)}


def subject(payload: Mapping[str, Any]) -> str:
    """Key of the issue that a write is about; empty when that is still to be created."""
    named = payload.get("ref") or payload.get("child") or payload.get("parent") or ""
    return named if isinstance(named, str) else ""


def resolved(payload: Mapping[str, Any], created: Mapping[str, str]) -> dict[str, Any]:
    """The payload with every `{"from": KEY}` replaced by the key of the issue that write created."""

    def real(value: Any) -> Any:
        if isinstance(value, list):
            return [real(item) for item in value]
        return created[value["from"]] if isinstance(value, dict) else value

    return {name: real(value) if name in _REFERENCES else value for name, value in payload.items()}


def perform(  # noqa: C901 - one line for each kind of write
    *,
    tracker: Tracker,
    scope: str,
    key: str,
    kind: WriteKind,
    payload: Mapping[str, Any],
    value: dict[str, Any],
) -> None:
    """Carry one write out; every call in it may be repeated. The payload is checked and resolved.

    What the write produces goes into `value` step by step: a create whose linking fails still tells its issue's key.

    Raises:
        TrackerError: Whatever the tracker says.
    """

    def ref(name: str) -> Ref:
        return Ref(scope, payload[name])

    match kind:
        case WriteKind.CREATE_ISSUE:
            _create(tracker=tracker, scope=scope, key=key, payload=payload, value=value)
        case WriteKind.LINK_CHILD:
            after = ref("after") if "after" in payload else None
            tracker.link_child(ref("parent"), ref("child"), after, replace=payload.get("replace", False))
        case WriteKind.SET_BLOCKERS:
            tracker.set_blockers(ref("ref"), {Ref(scope, blocker) for blocker in payload["blockers"]})
        case WriteKind.SET_STATE:
            tracker.set_state(ref("ref"), AgentState(payload["state"]))
        case WriteKind.UPSERT_COMMENT:
            comment = tracker.upsert_comment(ref("ref"), payload["slot"], payload.get("data", {}), payload["markdown"])
            value["id"] = comment.id
        case WriteKind.CLOSE:
            tracker.close(ref("ref"), CloseReason(payload["reason"]))
        case WriteKind.ASSIGN:
            value["assigned"] = tracker.assign(ref("ref"), payload["actor"])
        case WriteKind.REACT:
            tracker.react(ref("ref"), payload["kind"], payload.get("comment", ""))
        case WriteKind.SET_LABEL:
            tracker.set_label(ref("ref"), payload["name"], present=payload["present"])
        case WriteKind.REOPEN:
            tracker.reopen(ref("ref"))
        case WriteKind.OPEN_CHANGE:
            _propose(tracker=tracker, ref=ref("ref"), payload=payload, value=value)
        case WriteKind.MARK_READY:
            _code_host(tracker).mark_ready(ref("ref"), head=payload["head"])
        case WriteKind.EDIT:
            _edit(tracker=tracker, ref=ref("ref"), payload=payload, value=value)


def _code_host(tracker: Tracker) -> CodeHost:
    if "pull_requests" not in tracker.capabilities:
        raise InvalidError("This tracker has no pull requests.", field="kind")
    return cast(CodeHost, tracker)


def _propose(*, tracker: Tracker, ref: Ref, payload: Mapping[str, Any], value: dict[str, Any]) -> None:
    """A refusal is an outcome that the wisher deals with; an operator would have nothing to repair in the write."""
    texts = {name: payload[name] for name in ("head", "base", "title", "body")}
    host = _code_host(tracker)
    try:
        value["key"] = host.open_change(ref, **texts, outlived=payload.get("outlived", "")).key
    except NotProposableError as error:
        value["refused"] = str(error)


def _edit(*, tracker: Tracker, ref: Ref, payload: Mapping[str, Any], value: dict[str, Any]) -> None:
    """What somebody wrote meanwhile stays; the wisher tells people."""
    try:
        edited = tracker.edit(ref, title=payload["title"], body=payload["body"], was=payload.get("was", ""))
    except ChangedError as error:
        value["refused"] = str(error)
    else:
        value |= {"title": edited.title, "body": edited.body}


def _create(*, tracker: Tracker, scope: str, key: str, payload: Mapping[str, Any], value: dict[str, Any]) -> None:
    draft = IssueDraft(title=payload["title"], body=payload.get("body", ""), labels=tuple(payload.get("labels", ())))
    created = tracker.create(scope, draft, key).ref
    value["key"] = created.key
    if "parent" in payload:
        tracker.link_child(Ref(scope, payload["parent"]), created)
    if payload.get("blockers"):
        tracker.set_blockers(created, {Ref(scope, blocker) for blocker in payload["blockers"]})
