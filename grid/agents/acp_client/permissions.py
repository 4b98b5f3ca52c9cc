"""Which tool calls an ACP agent may make. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "switch_mode", "other"]
"""Kinds of tool calls that the protocol knows."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_GRANTING = ("allow_once", "allow_always")
_REFUSING = ("reject_once", "reject_always")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the agent gets to hear."""

    allowed: bool
    option_id: str | None
    """The offered option that is chosen; None when none fits, which the protocol calls cancelled."""


def decide(kind: str | None, offered: Sequence[tuple[str, str]], allowed: Collection[str]) -> Answer:
    """Answer a request for permission.

    Once rather than always, so that every later call is asked about again.

    Args:
        kind: Kind of the tool call; None when the agent does not say, which counts as `other`.
        offered: Id and kind of the options that the agent offers.
        allowed: Kinds of tool calls that are allowed.
    """
    granted = (kind or "other") in allowed
    ids = {offer_kind: offer_id for offer_id, offer_kind in reversed(offered)}
    chosen = next((ids[wanted] for wanted in (_GRANTING if granted else _REFUSING) if wanted in ids), None)
    return Answer(allowed=granted and chosen is not None, option_id=chosen)
