"""What comes in from trackers: a webhook is verified and stored here, and later tells where to look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tracker import deliveries, installations
from tracker.conf import conf
from tracker.deliveries import ATTEMPTS_MAX, Claimed, DeliveryView
from tracker.github import hints as github_hints
from tracker.github import inbound, payloads
from tracker.github.inbound import BODY_MAX_BYTES, Envelope, InboundError
from tracker.installations import Named
from tracker.models import Quota
from tracker.public_types import Hint

__all__ = ["ATTEMPTS_MAX", "BODY_MAX_BYTES", "Claimed", "DeliveryView", "InboundError", "Named", "Receipt"]

_OF_THE_APP = frozenset({"ping", "installation", "installation_repositories", "installation_target"})
"""Taken wherever they come from: the first word of a place that is not under care yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A delivery is stored and will be taken up."""

    delivery_id: int
    is_new: bool
    """False for a copy of one that is stored already: nothing more is to be done."""


# --- coming in -----------------------------------------------------------------------------------------------------


def check_size(count: int) -> None:
    """Refuse a body that announces so many bytes, before it is read. Raises InboundError."""
    inbound.check_size(count)


def receive(*, headers: Mapping[str, str], body: bytes, now: datetime) -> Receipt:
    """Verify a webhook and store it; what it is about is looked up later.

    Args:
        headers: As sent; the case of their names does not matter.
        body: As it came over the wire.
        now: Aware time of its arrival.

    Raises:
        InboundError: It is refused with this HTTP status, and nothing is stored.
    """
    inbound.check_size(len(body))
    lower = {name.lower(): value for name, value in headers.items()}
    inbound.check_signature(conf().webhook_secrets, body, lower)
    envelope = inbound.parse(lower, body)
    fields = {
        "event": envelope.event,
        "action": envelope.action,
        "scope": _home(envelope),
        "key": envelope.key,
        "sender": envelope.sender,
        "payload": envelope.payload,
    }
    delivery_id, is_new = deliveries.store(guid=envelope.guid, now=now, fields=fields)
    return Receipt(delivery_id=delivery_id, is_new=is_new)


def _home(envelope: Envelope) -> str:
    """Our name of the repository a delivery is about; empty for one that is about none."""
    if envelope.event in _OF_THE_APP:
        return envelope.scope
    if envelope.scope or envelope.repository_id is not None:
        home = installations.home(
            scope=envelope.scope, remote_id=envelope.repository_id, installation_id=envelope.installation_id
        )
        if home is not None:
            return home
        what, fix = "repository is not under care", "add it with `manage.py github add OWNER/REPO`, or remove the hook"
    elif installations.is_known(envelope.installation_id):
        return ""
    else:
        what, fix = "installation is not known", "redeliver its `installation` event, or uninstall the App there"
    raise InboundError(404, f"this {what} here", fix=fix)


# --- taking up -----------------------------------------------------------------------------------------------------


def due(now: datetime, *, limit: int = 200) -> list[int]:
    """Ids of deliveries that may be taken up now, oldest first."""
    return deliveries.due(now, limit=limit)


def is_overdue(now: datetime) -> bool:
    """Whether a delivery waits for which no message is on its way any more."""
    return deliveries.is_overdue(now)


def claim(delivery_id: int, *, now: datetime) -> Claimed | None:
    """Take a delivery up, alone for the time of a lease; None when there is nothing to do, or another has it."""
    return deliveries.claim(delivery_id, now=now)


def hints(claimed: Claimed) -> list[Hint]:
    """Where to look; nothing when the delivery does not concern us."""
    settings = conf()
    own = {settings.machine_user.lower()} - {""}
    if settings.token and not settings.app_id:
        rows = Quota.objects.filter(account__startswith="token:").values_list("account", flat=True)
        own.update(account.removeprefix("token:").lower() for account in rows)
    # Looked up once more: the repository may have another name since the delivery came.
    remote_id = payloads.number(payloads.child(claimed.payload, "repository"), "id")
    scope = installations.home(scope=claimed.scope, remote_id=remote_id, installation_id=None) or claimed.scope
    return github_hints.read(
        claimed.event, claimed.payload, scope=scope, own_logins=own, allowed_bots=settings.allowed_bots
    )


def finish(claimed: Claimed, *, is_ignored: bool, now: datetime) -> None:
    """It was taken up, or there was nothing to do."""
    deliveries.finish(claimed, is_ignored=is_ignored, now=now)


def put_back(claimed: Claimed, *, error: str, not_before: datetime, now: datetime) -> None:
    """Try again later; after `ATTEMPTS_MAX` attempts it failed for ever."""
    deliveries.put_back(claimed, error=error, not_before=not_before, now=now)


def fail(claimed: Claimed, *, error: str, now: datetime) -> None:
    """It cannot be taken up; a person has to look."""
    deliveries.fail(claimed, error=error, now=now)


def record_installation(claimed: Claimed, *, now: datetime) -> Named:
    """Write down what an installation event says; returns the repositories that it names."""
    return installations.record(claimed.event, claimed.payload, now=now)


def deactivate(scope: str) -> bool:
    """A repository cannot be reached any more; returns whether it was active."""
    return installations.deactivate(scope)


# --- for operators -------------------------------------------------------------------------------------------------


def find(name: str) -> DeliveryView:
    """The delivery with this id or GUID.

    Raises:
        NotFoundError: There is none.
    """
    return deliveries.find(name)


def reset(delivery_id: int) -> bool:
    """Let a delivery be taken up again, however it ended; returns whether there is one."""
    return deliveries.reset(delivery_id)


def stuck(*, before: datetime) -> list[DeliveryView]:
    """Deliveries that failed for ever, and those that have been due since before a time."""
    return deliveries.stuck(before=before)


def prune(now: datetime) -> int:
    """Delete deliveries that were taken up long ago; returns how many."""
    return deliveries.prune(now)
