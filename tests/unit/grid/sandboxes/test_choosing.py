"""Which sandbox a run gets, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from grid.conf import GridConf, conf
from grid.public_errors import LaunchFailedError
from grid.sandboxes import choosing
from grid.sandboxes.base import ENFORCEABLE, Request, Sandbox, Wrapped


class Stub:
    """A backend on an imagined machine."""

    def __init__(self, name: str, *enforces: str, why_not: str = "") -> None:
        self.name, self.enforces, self.why_not = name, frozenset(enforces), why_not

    def available(self, settings: GridConf) -> str:
        return self.why_not

    def wrap(self, request: Request) -> Wrapped:
        raise NotImplementedError


def machine(monkeypatch: pytest.MonkeyPatch, *, bwrap: str = "", docker: str = "", memory: bool = True) -> None:
    """A machine on which backends are missing for these reasons."""
    walls = [need for need in ENFORCEABLE if memory or need != "memory"]
    backends: Mapping[str, Sandbox] = {
        "bwrap": Stub("bwrap", *walls, why_not=bwrap),
        "docker": Stub("docker", *ENFORCEABLE, why_not=docker),
        "process": Stub("process"),
    }
    monkeypatch.setattr(choosing, "BACKENDS", backends)


def host(sandbox: str) -> GridConf:
    return dataclasses.replace(conf(), sandbox=sandbox)


@pytest.mark.parametrize(
    ("setting", "wanted", "chosen"),
    [
        ("auto", (), "bwrap"),
        ("auto", ("",), "bwrap"),
        ("auto", (None, "auto"), "bwrap"),
        ("auto", ("process",), "bwrap"),
        ("auto", ("files, network",), "bwrap"),
        ("auto", (["files", "bwrap"],), "bwrap"),
        ("auto", ("docker",), "docker"),
        ("process", (), "process"),
        ("process", ("bwrap",), "bwrap"),
        ("docker", ("bwrap",), "bwrap"),
    ],
)
def test_a_run_gets_the_hosts_sandbox_or_what_is_no_weaker(
    monkeypatch: pytest.MonkeyPatch, setting: str, wanted: Any, chosen: str
) -> None:
    machine(monkeypatch)
    assert choosing.choose(wanted, host(setting)).name == chosen


def test_a_weaker_backend_that_is_asked_for_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, memory=False)
    assert choosing.choose(("bwrap", "process"), host("docker")).name == "docker"


def test_without_bwrap_auto_is_no_sandbox_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, bwrap="there is no bwrap")
    assert choosing.choose((), host("auto")).name == "process"
    assert "without a sandbox (there is no bwrap)" in choosing.warning(host("auto"))
    machine(monkeypatch)
    assert choosing.warning(host("auto")) == ""
    assert "without a sandbox" in choosing.warning(host("process"))


@pytest.mark.parametrize(
    ("setting", "wanted", "words"),
    [
        ("process", ("network",), "needs more than the sandbox process enforces.*network.*AGENTGRID_SANDBOX=bwrap"),
        ("bwrap", ("memory",), "needs more than the sandbox bwrap enforces.*memory.*AGENTGRID_SANDBOX=docker"),
        ("auto", ("firejail",), "firejail is unknown; known are bwrap"),
        ("firejail", (), "there is no sandbox 'firejail'"),
    ],
)
def test_a_run_that_asks_for_more_than_there_is_is_refused_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, setting: str, wanted: Any, words: str
) -> None:
    machine(monkeypatch, memory=False)
    with pytest.raises(LaunchFailedError, match=words):
        choosing.choose(wanted, host(setting))


def test_a_backend_that_is_named_and_missing_is_not_replaced_by_a_weaker_one(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, bwrap="install bubblewrap", docker="no engine")
    for setting, wanted in (("bwrap", ()), ("process", ("bwrap",)), ("auto", ("bwrap",))):
        with pytest.raises(LaunchFailedError, match="cannot be had on this host: install bubblewrap"):
            choosing.choose(wanted, host(setting))
    with pytest.raises(LaunchFailedError, match="install bubblewrap"):
        choosing.choose(("files",), host("auto"))
