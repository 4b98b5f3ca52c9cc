"""Which versions of the coding CLIs the adapters were checked with, and where npm puts their programs. Pure.

CLIs rename flags, features and events between releases; a version outside the range may work, and nobody has seen it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One CLI."""

    program: str
    package: str
    """On npm."""
    version: str
    """Checked, and what `agents install` installs."""
    accepted: str
    """Range of versions that are expected to work, as `packaging` reads it."""
    native: str
    """The program itself below `node_modules`, `{arch}` being `x64` or `arm64`; npm's own wrapper would be a process more."""
    needs: tuple[str, ...] = ()
    """Other programs in PATH."""

    def accepts(self, version: str) -> bool:
        """Whether a version is in the range; what is no version is not."""
        try:
            return Version(version) in SpecifierSet(self.accepted)
        except InvalidVersion:
            return False


PINS: Mapping[str, Pin] = {
    pin.program: pin
    for pin in (
        Pin(
            program="claude",
            package="@anthropic-ai/claude-code",
            version="2.1.329",
            accepted=">=2.1.300,<2.2",
            native="@anthropic-ai/claude-code-linux-{arch}/claude",
        ),
        Pin(
            program="codex",
            package="@openai/codex",
            version="0.169.0",
            accepted="==0.169.*",
            native="@openai/codex-linux-{arch}/vendor/{triple}/bin/codex",
        ),
        Pin(
            program="opencode",
            package="opencode-ai",
            version="1.18.33",
            accepted=">=1.18,<1.19",
            native="opencode-linux-{arch}/bin/opencode",
        ),
        Pin(
            program="gemini",
            package="@google/gemini-cli",
            version="0.61.0",
            accepted=">=0.61,<0.62",
            native="@google/gemini-cli/bundle/gemini.js",
            needs=("node",),
        ),
    )
}
"""By the name of adapter and program, which are the same."""


def version_in(text: str) -> str:
    """The first thing that looks like a version in what a program printed; empty: nothing does."""
    found = _VERSION.search(text)
    return found.group() if found else ""


def native_path(pin: Pin, machine: str) -> str:
    """The program below `node_modules` on a machine (`platform.machine()`)."""
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(machine, machine)
    return pin.native.format(arch=arch, triple=f"{machine}-unknown-linux-musl")
