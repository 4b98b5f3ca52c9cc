from __future__ import annotations

import subprocess

import pytest

from grid import store


@pytest.mark.parametrize(
    ("key", "title", "name"),
    [
        ("12", "Add a parser", "agent/12-add-a-parser"),
        ("12", "--force; rm -rf /", "agent/12-force-rm-rf"),
        ("12", "Größe über ünïcode", "agent/12-groe-uber-unicode"),
        ("12", "a..b.lock", "agent/12-a-b-lock"),
        ("12", "日本語", "agent/12"),
        ("12", "", "agent/12"),
        ("12", "x" * 300, "agent/12-" + "x" * 48),
        ("12", "a\0b\n@{c}~^:?*[\\", "agent/12-a-b-c"),
    ],
)
def test_branch_names_are_readable(key, title, name):
    assert store.branch_name(key, title) == name


@pytest.mark.parametrize("key", ["1.2", "../x", "", "-", "A 1", "日本", "x.lock", "1-2"])
def test_branch_names_are_valid_and_keep_keys_apart(key):
    name = store.branch_name(key, "..lock/-")
    subprocess.run(["git", "check-ref-format", "--branch", name], check=True, capture_output=True)
    assert name.startswith("agent/")
    assert len({store.branch_name(each, "t") for each in ("1.2", "1-2", "1 2", "A", "a")}) == 5
