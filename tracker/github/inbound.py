"""What a webhook's bytes decide before anything is looked up: whether it is genuine, and what it is about. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tracker.github import payloads
from tracker.github.hints import read as hints
from tracker.github.payloads import Json
from tracker.public_errors import TrackerError

__all__ = ["hints"]

BODY_MAX_BYTES = 5_000_000
"""GitHub sends up to 25 MB; nothing that matters here comes near."""
_GUID = re.compile(r"[0-9A-Za-z-]{1,100}")


class InboundError(TrackerError):
    """A delivery is refused, and nothing of it stored."""

    def __init__(self, status: int, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.status, self.fix = status, fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is known of a delivery before anything of it is looked up."""

    guid: str
    event: str
    action: str
    """Empty where an event has none, or a strange one."""
    scope: str
    """The repository's full name; empty when it is about none."""
    repository_id: int | None
    """GitHub's number of it; survives renames."""
    installation_id: int | None
    key: str
    """Issue or pull request; empty when it is about none, or several."""
    sender: str
    payload: Json


def check_size(count: int) -> None:
    """Refuse a body of so many bytes, announced or read. Raises InboundError."""
    if count > BODY_MAX_BYTES:
        raise InboundError(
            413,
            f"the body is larger than {BODY_MAX_BYTES} bytes",
            fix="nothing to do: whatever this event changed is found by the sweep",
        )


def verify(secrets: Collection[str], body: bytes, header: str) -> bool:
    """Whether a `X-Hub-Signature-256` was made of exactly these bytes with one of our secrets; in constant time."""
    given, is_genuine = header.encode(errors="replace"), False
    for secret in secrets:
        expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        is_genuine |= bool(secret) and hmac.compare_digest(expected.encode(), given)
    return is_genuine


def check_signature(secrets: Collection[str], body: bytes, headers: Mapping[str, str]) -> None:
    """Refuse what GitHub did not sign with one of our secrets.

    Raises:
        InboundError: 503 when we have no secret, 401 for every other failure.
    """
    if not any(secrets):
        raise InboundError(
            503,
            "webhooks are not set up: there is no secret to check signatures with",
            fix="set GITHUB_WEBHOOK_SECRET to the secret of the webhook or GitHub App, and restart",
        )
    header = headers.get("x-hub-signature-256", "")
    if not header:
        found = "only a SHA-1 signature" if headers.get("x-hub-signature") else "no signature"
        raise InboundError(
            401,
            f"there is {found}",
            fix="give the webhook the secret of GITHUB_WEBHOOK_SECRET; X-Hub-Signature-256 must arrive unchanged",
        )
    if not verify(secrets, body, header):
        raise InboundError(
            401,
            "the signature does not fit the body",
            fix="use the same secret at GitHub and in GITHUB_WEBHOOK_SECRET; no proxy may rewrite the body",
        )


def parse(headers: Mapping[str, str], body: bytes) -> Envelope:
    """Read a verified delivery.

    Args:
        headers: By lower-case name.
        body: As it came over the wire.

    Raises:
        InboundError: 415 for another content type than JSON, 400 for anything else that GitHub would not send.
    """
    event, guid = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
    if not payloads.is_word(event) or not _GUID.fullmatch(guid):
        raise InboundError(
            400, "X-GitHub-Event or X-GitHub-Delivery is missing or strange", fix="send what GitHub sends"
        )
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InboundError(
            415,
            "the body is not sent as JSON",
            fix="choose the content type application/json in the webhook's settings",
        )
    try:
        payload = payloads.load(body)
    except ValueError as error:
        raise InboundError(
            400, "the body is not a JSON object that can be stored", fix="send what GitHub sends"
        ) from error
    repository = payloads.child(payload, "repository")
    return Envelope(
        guid=guid,
        event=event,
        action=payloads.action(payload),
        scope=payloads.scope(repository),
        repository_id=payloads.number(repository, "id"),
        installation_id=payloads.number(payloads.child(payload, "installation"), "id"),
        key=payloads.key(payloads.child(payload, "issue")) or payloads.key(payloads.child(payload, "pull_request")),
        sender=payloads.login(payloads.child(payload, "sender")),
        payload=payload,
    )
