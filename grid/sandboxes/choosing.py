"""Which sandbox a run gets: the host's own, or a stronger one that was asked for; never a weaker one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from grid.conf import GridConf
from grid.public_errors import LaunchFailedError
from grid.sandboxes.base import ENFORCEABLE, Sandbox
from grid.sandboxes.bwrap import BwrapSandbox
from grid.sandboxes.docker import DockerSandbox
from grid.sandboxes.process import ProcessSandbox

AUTO = "auto"
BACKENDS: Mapping[str, Sandbox] = {
    sandbox.name: sandbox for sandbox in (BwrapSandbox(), DockerSandbox(), ProcessSandbox())
}


def default(settings: GridConf) -> Sandbox:
    """The host's own backend. Raises LaunchFailedError when AGENTGRID_SANDBOX names one that does not work here."""
    if settings.sandbox == AUTO:
        bwrap = BACKENDS["bwrap"]
        return BACKENDS["process"] if bwrap.available(settings) else bwrap
    return named(settings.sandbox, settings)


def named(name: str, settings: GridConf) -> Sandbox:
    """A backend by its name. Raises LaunchFailedError when there is none, or it does not work here."""
    sandbox = BACKENDS.get(name)
    if sandbox is None:
        raise LaunchFailedError(
            f"there is no sandbox {name!r}: take one of auto, {', '.join(BACKENDS)}", permanent=True
        )
    if why_not := sandbox.available(settings):
        raise LaunchFailedError(f"the sandbox {name} cannot be had on this host: {why_not}", permanent=True)
    return sandbox


def choose(wanted: Iterable[object], settings: GridConf) -> Sandbox:
    """The backend of a run.

    Args:
        wanted: What its policy and its profile ask for: empty, the name of a backend, something of ENFORCEABLE, several
            of both with commas, or a list. A backend that enforces less than the host's own changes nothing.
        settings: Of the host.

    Raises:
        LaunchFailedError: Nothing here enforces all of it; the message says what is missing.
    """
    names, needs = asked_for(wanted)
    own = default(settings)
    found = own
    for name in sorted(names):
        if not BACKENDS[name].enforces < found.enforces:
            found = named(name, settings)
    missing = sorted((needs | own.enforces) - found.enforces)
    if missing:
        words = "; ".join(f"{need} (an agent {ENFORCEABLE[need]})" for need in missing)
        raise LaunchFailedError(
            f"this run needs more than the sandbox {found.name} enforces on this host: {words}. {_fix(missing, settings)}",
            permanent=True,
        )
    return found


def asked_for(wanted: Iterable[object]) -> tuple[frozenset[str], frozenset[str]]:
    """Backends and needs in what was asked for. Raises LaunchFailedError for a word that is neither."""
    words = {word.strip() for value in wanted for word in _words(value)} - {"", AUTO}
    unknown = sorted(words - BACKENDS.keys() - ENFORCEABLE.keys())
    if unknown:
        known = ", ".join((*BACKENDS, *ENFORCEABLE))
        raise LaunchFailedError(f"sandbox: {', '.join(unknown)[:200]} is unknown; known are {known}", permanent=True)
    return frozenset(words & BACKENDS.keys()), frozenset(words & ENFORCEABLE.keys())


def warning(settings: GridConf) -> str:
    """What operators should know about how agents are kept in on this host; empty when they are in a sandbox."""
    try:
        sandbox = default(settings)
    except LaunchFailedError as error:
        return f"agents cannot be started: {error}"
    if sandbox.name != "process":
        return ""
    why = "" if settings.sandbox != AUTO else f" ({BACKENDS['bwrap'].available(settings)})"
    return f"agents run without a sandbox{why}: they can read what this user can read, and use the network"


def _words(value: object) -> Collection[str]:
    if isinstance(value, str):
        return value.split(",")
    return [str(word) for word in value] if isinstance(value, (list, tuple)) else []


def _fix(missing: Collection[str], settings: GridConf) -> str:
    better = [
        name
        for name, other in BACKENDS.items()
        if other.enforces >= frozenset(missing) and not other.available(settings)
    ]
    if better:
        return f"Set AGENTGRID_SANDBOX={better[0]}, or ask for less"
    if {"memory", "processes", "cpu"} & set(missing):
        return "Let the worker make control groups (as root, or by systemd's Delegate=yes), see docs/sandboxes.md; or ask for less"
    return f"{BACKENDS['bwrap'].available(settings) or 'See docs/sandboxes.md'}; or ask for less"
