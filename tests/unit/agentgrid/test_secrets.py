"""The embedded installation's own secret."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from agentgrid.secrets import kept_secret


def test_a_secret_is_made_once_and_nobody_else_may_read_it(tmp_path: Path):
    path = tmp_path / "state" / "key"
    first = kept_secret(path)
    assert len(first) > 50 and kept_secret(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_two_folders_have_two_secrets(tmp_path: Path):
    assert kept_secret(tmp_path / "a") != kept_secret(tmp_path / "b")


def test_racing_processes_agree(tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(kept_secret, [tmp_path / "key"] * 16))) == 1
