"""Tools about conflicts: look at one's own, and decide those between agents below."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from coordinator.conf import conf
from coordinator.contention import conflict_words
from coordinator.documents import untrusted
from coordinator.models import Conflict
from coordinator.rules import conflict_rules as rules
from coordinator.teamwork import conflicts
from coordinator.toolbox.context import Call
from grid.public_toolkit import ToolRefusedError

_STRANGER = "there is no such conflict for you to decide; list_conflicts shows yours"
"""Said of conflicts that do not exist and of those of others, alike."""


def _as_number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 17 else value


_Agent = Annotated[int, BeforeValidator(_as_number), Field(ge=1, le=2**53)]
_Number = Annotated[int, BeforeValidator(_as_number), Field(ge=1, le=2**53)]


def list_conflicts(call: Call, state: Literal["standing", "all"] = "standing") -> dict[str, Any]:
    """Conflicts about files that you are a side of, or that are yours to decide: who wants what, and what was decided."""
    found = conflicts.find(state="standing" if state == "standing" else "", agent_id=call.agent_id, limit=50)
    return {"conflicts": [_shown(row, call.agent_id) for row in reversed(found)]}


def resolve_conflict(
    call: Call,
    conflict: _Number,
    choice: Literal["release", "sequence", "fork", "merge_plan"],
    first: _Agent | None = None,
    merger: _Agent | None = None,
    reason: Annotated[str, Field(max_length=conflicts.MAX_WORDS)] = "",
) -> dict[str, Any]:
    """Decide a conflict between agents below you, once; it is carried out for you, and both are told.

    release: the holder gives the files back, or loses them after a while. sequence: `first` names who goes first, the other
    one waits for its end. fork: both change the files on their branches, and you merge what does not fit together. merge_plan:
    the same, and the one that `merger` names merges, last.
    """
    row = Conflict.objects.filter(pk=conflict, arbiter_id=call.agent_id).first()
    if row is None:
        raise ToolRefusedError(_STRANGER)
    named = [agent for agent in (first if choice == "sequence" else merger,) if agent is not None]
    done = conflicts.decide(row.pk, choice=choice, actor=f"agent:{call.agent_id}", order=named, reason=reason)
    return _shown(conflicts.get(done.pk), call.agent_id)


def _shown(row: Conflict, agent_id: int) -> dict[str, Any]:
    decision = conflict_words.decided_of(row)
    role = "decides" if row.arbiter_id == agent_id else "asks" if row.requester_id == agent_id else "has it"
    shown: dict[str, Any] = {
        "conflict": row.pk,
        "your_part": role,
        "about": row.patterns[:20],
        "what": conflict_words.what(row),
        "state": row.state,
        "agents": {
            "asks": str(row.requester_id),
            "has": str(row.holder_id),
            "decides": str(row.arbiter_id or "a person"),
        },
        "decision": decision,
        "why": untrusted.head(row.words, 1_000),
        "end": row.reason,
        "thread": row.thread_id,
    }
    if row.state == rules.ConflictState.OPEN and row.arbiter_id == agent_id:
        shown["choices"] = list(conflict_words.meanings(row, grace=conf().conflict_grace_seconds))
        shown["default_at"] = row.default_at.isoformat(timespec="seconds")
    return shown
