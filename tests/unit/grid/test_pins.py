"""Versions of coding CLIs."""

from __future__ import annotations

import pytest

from grid.agents import registry
from grid.agents.pins import PINS, native_path, version_in


@pytest.mark.parametrize("name", sorted(PINS))
def test_the_installed_version_is_an_accepted_one(name: str) -> None:
    pin = PINS[name]
    assert pin.accepts(pin.version)
    assert not pin.accepts("99.0.0")
    assert not pin.accepts("0.0.1")
    assert not pin.accepts("")
    assert not pin.accepts("nonsense")
    assert registry.get(name).name == name


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("2.1.329 (Claude Code)", "2.1.329"),
        ("codex-cli 0.169.0\n", "0.169.0"),
        ("warning: old node 20\n0.61.0", "0.61.0"),
        ("no version here", ""),
    ],
)
def test_versions_are_found_in_what_programs_print(printed: str, version: str) -> None:
    assert version_in(printed) == version


def test_native_programs_are_named_by_machine() -> None:
    assert native_path(PINS["claude"], "x86_64") == "@anthropic-ai/claude-code-linux-x64/claude"
    assert "aarch64-unknown-linux-musl" in native_path(PINS["codex"], "aarch64")
