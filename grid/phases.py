"""The phases of an execution and what follows each: a pure plan.

    setup-1 … setup-n → agent → (harvest) → verify-setup-1 … → verify-1 … verify-m → end

Each phase is one process tree under one shim. Set-up commands run before the agent in its workspace, and again in the
fresh checkout before the acceptance commands.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from grid.public_types import Check, LaunchSpec, OutcomeKind, State

AGENT = "agent"


class Kind(enum.StrEnum):
    """What a phase is for."""

    SETUP = "setup"
    AGENT = "agent"
    VERIFY_SETUP = "verify-setup"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One process tree under one shim."""

    name: str
    kind: Kind
    command: str = ""
    """Shell command; empty for the agent."""

    @property
    def in_checkout(self) -> bool:
        """Whether it runs in the fresh checkout rather than in the agent's workspace."""
        return self.kind in {Kind.VERIFY_SETUP, Kind.VERIFY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the shim says that a phase ended."""

    reason: str
    """`exited`, a limit (`wall`, `idle`, `output`, `disk`), a stop's reason, `fenced`, `not_started`, `shim_failed`, `killed`."""
    exit_code: int | None = None
    exit_signal: int | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it left by itself with code 0."""
        return self.reason == "exited" and self.exit_code == 0

    def in_words(self) -> str:
        """`exit 1`, `signal 9`, `wall limit`, for people."""
        if self.reason == "exited":
            return f"exit {self.exit_code}" if self.exit_signal is None else f"signal {self.exit_signal}"
        words = {
            "wall": "wall-clock limit",
            "idle": "no output for too long",
            "output": "output limit",
            "disk": "disk full",
        }
        return words.get(self.reason, self.reason.replace("_", " ")) + (f": {self.error}" if self.error else "")


def before_agent(spec: LaunchSpec) -> list[Phase]:
    """Set-up commands and the agent, in order."""
    setup = [Phase(name=f"setup-{n}", kind=Kind.SETUP, command=c) for n, c in enumerate(spec.setup, 1)]
    return [*setup, Phase(name=AGENT, kind=Kind.AGENT)]


def after_agent(spec: LaunchSpec, outcome: OutcomeKind) -> list[Phase]:
    """Commands that judge the work; none unless the agent says it is done."""
    if outcome != OutcomeKind.DONE or not spec.acceptance:
        return []
    setup = [Phase(name=f"verify-setup-{n}", kind=Kind.VERIFY_SETUP, command=c) for n, c in enumerate(spec.setup, 1)]
    return [*setup, *(Phase(name=f"verify-{n}", kind=Kind.VERIFY, command=c) for n, c in enumerate(spec.acceptance, 1))]


def find(spec: LaunchSpec, name: str) -> Phase:
    """The phase of this name. Raises KeyError for a name that this spec does not have."""
    return {phase.name: phase for phase in [*before_agent(spec), *after_agent(spec, OutcomeKind.DONE)]}[name]


def following(spec: LaunchSpec, phase: Phase) -> Phase | None:
    """The phase after this one within its half; None at the half's end."""
    half = before_agent(spec) if not phase.in_checkout else after_agent(spec, OutcomeKind.DONE)
    index = half.index(phase) + 1
    return half[index] if index < len(half) else None


def interruption(ended: Ended) -> State | None:
    """The terminal state when a phase was ended from outside or by a limit; None when it left by itself."""
    return {
        "exited": None,
        "wall": State.TIMED_OUT,
        "idle": State.TIMED_OUT,
        "output": State.FAILED,
        "disk": State.FAILED,
        "not_started": State.FAILED,
        "cancelled": State.CANCELLED,
        "over_budget": State.OVER_BUDGET,
        "interrupted": State.INTERRUPTED,
        "fenced": State.LOST,
        "killed": State.LOST,
        "shim_failed": State.LOST,
    }.get(ended.reason, State.FAILED)


def judge(checks: tuple[Check, ...]) -> tuple[State, str]:
    """The terminal state after acceptance, and why in one line."""
    for check in checks:
        if not check.passed:
            how = f"exit {check.exit_code}" if check.exit_code is not None else "did not exit by itself"
            return State.FAILED, f"acceptance failed: {check.command[:200]} ({how})"
    return State.SUCCEEDED, f"done, {len(checks)} acceptance check{'s' * (len(checks) != 1)} passed"
