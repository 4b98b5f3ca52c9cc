"""Profiles, toolsets and tiers that count: the shipped files, under what operators saved, under what a repository says.

A saved definition is a new version, never a change of an old one; it is looked at together with everything else before it
is stored, so that what is current always fits together.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from coordinator import auditing
from coordinator.documents.policy import EffectivePolicy
from coordinator.documents.policy_file import FILE_NAME, Policy
from coordinator.models import Definition, Envelope
from coordinator.public_errors import InvalidInputError, NotAllowedError
from coordinator.public_types import ScopeKind
from grid.public_sql import Prepared
from grid.public_toolkit import DefinitionError, Library, Source, library

MAX_CHARACTERS = 64 * 1024
KINDS = tuple(str(kind) for kind in Definition.Kind)
_CURRENT = Prepared(lambda: Definition.objects.filter(is_current=True).order_by("pk").values_list("pk", "created_at"))

type Key = tuple[str, str]
type Says = Policy | EffectivePolicy
"""Whatever holds a repository's `profiles`, `toolsets` and `depth_rule`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One version of a definition."""

    id: int
    kind: str
    name: str
    version: int
    body: str
    is_current: bool
    note: str
    created_by: str
    created_at: datetime


def fleet() -> Library:
    """What holds where a repository says nothing of its own."""
    return _library(_current(), "")


def of_repository(policy: Says) -> Library:
    """What holds in a repository. Reading is lazy: a broken definition shows when it, or one that needs it, is asked for."""
    said = {"profile": policy.profiles, "toolset": policy.toolsets}
    return _library(_current(), json.dumps(said, sort_keys=True, default=dict) if any(said.values()) else "")


def check(policy: Policy) -> None:
    """Refuse a repository's definitions that are wrong, or do not fit to the fleet's.

    Raises:
        InvalidInputError: Names the profile or toolset and the fix.
    """
    try:
        found = of_repository(policy)
        for name in policy.toolsets:
            found.toolset(name)
        for name in policy.profiles:
            found.profile(name)
        for level in policy.depth_rule:
            if level.tier:
                found.tiers().rank(level.tier)
    except DefinitionError as error:
        raise InvalidInputError(f"{FILE_NAME}: {error}") from error


def save(*, kind: str, name: str, body: str, actor: str, base_version: int | None = None, note: str = "") -> Saved:
    """Store a new version and make it the current one, if everything fits together with it.

    Args:
        base_version: The version it was made from, 0 for none; refused when another is current by now. None: whichever is.

    Raises:
        InvalidInputError: The definition, or one that needs it, would be wrong; nothing was stored.
        NotAllowedError: Somebody else saved a version meanwhile.
    """
    if kind not in KINDS:
        raise InvalidInputError(f"there is no kind '{kind[:40]}' of definition; there are: {', '.join(KINDS)}")
    if len(body) > MAX_CHARACTERS:
        raise InvalidInputError(f"the definition has {len(body):,} characters; at most {MAX_CHARACTERS:,} are kept")
    _check_with(kind, name, body)
    try:
        with transaction.atomic():
            _take_turns()
            last = Definition.objects.select_for_update().filter(kind=kind, name=name).order_by("-version").first()
            _check_base(last, base_version)
            version = last.version + 1 if last is not None else 1
            Definition.objects.filter(kind=kind, name=name, is_current=True).update(is_current=False)
            row = Definition.objects.create(
                kind=kind, name=name, version=version, body=body, note=note[:300], created_by=actor[:150]
            )
            _audit(actor, "save_definition", row)
            # Once more with what others have saved meanwhile; what does not fit is taken back with the transaction.
            _check_current()
    except IntegrityError as error:
        raise NotAllowedError(_MEANWHILE) from error
    return _saved(row)


def take_back(*, kind: str, name: str, actor: str) -> None:
    """Let the shipped definition count again, or none. Raises InvalidInputError when others need what would be missing."""
    with transaction.atomic():
        _take_turns()
        row = Definition.objects.select_for_update().filter(kind=kind, name=name, is_current=True).first()
        if row is None:
            raise InvalidInputError(f"no saved {kind} '{name[:60]}' is current; `profile list` shows what there is")
        Definition.objects.filter(pk=row.pk).update(is_current=False)
        _audit(actor, "take_back_definition", row)
        _check_current()


def versions(*, kind: str, name: str) -> list[Saved]:
    """Every saved version, the newest first; none of a definition that is only shipped."""
    return [_saved(row) for row in Definition.objects.filter(kind=kind, name=name).order_by("-version")]


def current(kinds: Sequence[str] = KINDS) -> list[Saved]:
    """The saved definitions that count."""
    return [_saved(row) for row in Definition.objects.filter(is_current=True, kind__in=kinds)]


_MEANWHILE = "somebody saved another version meanwhile; look at it, then save again"


def _take_turns() -> None:
    """Two that save at once must see each other: what fits with the old version of another may not fit with its new one."""
    Envelope.objects.select_for_update().filter(kind=ScopeKind.FLEET).first()


def _check_base(last: Definition | None, base_version: int | None) -> None:
    current = last.version if last is not None and last.is_current else 0
    if base_version is not None and base_version != current:
        raise NotAllowedError(f"version {current or 'none'} is current, not {base_version or 'none'}: {_MEANWHILE}")


def _check_with(kind: str, name: str, body: str) -> None:
    """Before anything is locked: the usual mistake costs no transaction."""
    rows = {(row.kind, row.name): row for row in Definition.objects.filter(is_current=True)}
    layer = {key: _source(row) for key, row in rows.items()}
    layer[kind, name] = Source(where="the new version", text=body)
    _check(layer)


def _check_current() -> None:
    rows = Definition.objects.filter(is_current=True)
    _check({(row.kind, row.name): _source(row) for row in rows})


def _check(layer: Mapping[Key, Source]) -> None:
    try:
        library(layer).check()
    except DefinitionError as error:
        raise InvalidInputError(str(error)) from error


def _current() -> tuple[tuple[int, datetime], ...]:
    return tuple(_CURRENT.rows())


@functools.lru_cache(maxsize=64)
def _library(saved: tuple[tuple[int, datetime], ...], of_repository: str) -> Library:
    """Versions never change, so that these stand for them; reading all that YAML for every nudge would be slow."""
    rows = Definition.objects.filter(pk__in=[pk for pk, _ in saved])
    own: Mapping[str, Mapping[str, Any]] = json.loads(of_repository) if of_repository else {}
    places = {"profile": "profiles", "toolset": "toolsets"}
    return library(
        {(row.kind, row.name): _source(row) for row in rows},
        {
            (kind, name): Source(where=f"{FILE_NAME}, {places[kind]}", value=value)
            for kind, found in own.items()
            for name, value in found.items()
        },
    )


def _source(row: Definition) -> Source:
    return Source(where=f"saved version {row.version}", text=row.body)


def _audit(actor: str, action: str, row: Definition) -> None:
    detail = {"version": row.version, "note": row.note}
    auditing.record(actor, action, f"{row.kind}:{row.name}", detail)


def _saved(row: Definition) -> Saved:
    return Saved(
        id=row.pk,
        kind=row.kind,
        name=row.name,
        version=row.version,
        body=row.body,
        is_current=row.is_current,
        note=row.note,
        created_by=row.created_by,
        created_at=row.created_at,
    )
