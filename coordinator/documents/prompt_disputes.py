"""Conflicts in a prompt: texts of agents, made safe and short enough. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from coordinator.documents.prompt_context import Dispute, Side
from coordinator.documents.untrusted import fenced, head, one_line, printable, visible

MAX_PATHS = 200


def clean(dispute: Dispute) -> Dispute:
    """The same without what nobody can see; what stands in our sentences is on one line."""
    return replace(
        dispute,
        number=one_line(dispute.number, 20),
        what=one_line(dispute.what, 300),
        paths=tuple(one_line(path, 300) for path in dispute.paths[:MAX_PATHS]),
        requester=_clean(dispute.requester),
        holder=_clean(dispute.holder),
        choices=tuple(one_line(choice, 400) for choice in dispute.choices),
        default=one_line(dispute.default, 300),
    )


def _clean(side: Side) -> Side:
    return replace(
        side,
        agent=one_line(side.agent, 20),
        key=one_line(side.key, 40),
        title=one_line(side.title, 120),
        state=one_line(side.state, 40),
        says=one_line(side.says, 300),
        reason=visible(side.reason),
        patch=printable(side.patch),
    )


def fitted(dispute: Dispute, part: Callable[[int], int]) -> dict[str, Any]:
    """A template's variables: each longer text cut to its part and fenced."""

    def side(one: Side) -> Side:
        patch = fenced(head(one.patch, part(6_000)), "diff") if one.patch.strip() else ""
        return replace(one, reason=_fenced(head(one.reason, part(1_000))), patch=patch)

    paths = fenced(head("\n".join(dispute.paths), part(4_000)))
    values: dict[str, Any] = {item.name: getattr(dispute, item.name) for item in fields(dispute)}
    return values | {"paths": paths, "requester": side(dispute.requester), "holder": side(dispute.holder)}


def _fenced(text: str) -> str:
    return fenced(text) if text.strip() else ""
