"""The command line of gridctl, without a server; tests/integration/coordinator/test_agent_tools.py has one."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from grid.gridctl import place, script


def test_it_imports_nothing_but_the_standard_library():
    tree = ast.parse(Path(script.__file__).read_text())
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--status", "writing tests"], {"status": "writing tests"}),
        (["--done", "3", "--total=7"], {"done": 3, "total": 7}),
        (["--children", '[{"key": "a"}]'], {"children": [{"key": "a"}]}),
        (["--blocked-by", '["a"]', "--note="], {"blocked_by": ["a"], "note": ""}),
        (["--text", "{not json"], {"text": "{not json"}),
    ],
)
def test_options_are_arguments(argv, expected):
    assert script._options(argv) == expected


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nudge", "12"], "belongs to nothing"),
        (["nudge", "--agent"], "--agent needs a value"),
        (["nudge", "--agent", "1", "--agent", "2"], "twice"),
        (["call"], "wants a name"),
        (["call", "nudge", "[1]"], "must be a JSON object"),
        (["call", "nudge", "{"], "not JSON"),
    ],
)
def test_wrong_use_is_said_and_is_exit_code_2(argv, says, capsys):
    assert script.main(argv) == script.USAGE
    assert says in capsys.readouterr().err


def test_without_a_wired_run_it_says_so(monkeypatch, capsys):
    monkeypatch.delenv(script.TOKEN_ENV, raising=False)
    assert script.main(["tools"]) == script.NO_ENTRY
    assert "this run has no tools of the grid" in capsys.readouterr().err


def test_help_is_its_own_description(capsys):
    assert script.main(["--help"]) == script.OK
    assert "gridctl call NAME" in capsys.readouterr().out


def test_it_is_placed_over_whatever_the_repository_left_there(tmp_path: Path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "bin").symlink_to(target)
    place(tmp_path / "linked", python=sys.executable)
    assert not (tmp_path / "linked" / "bin").is_symlink() and list(target.iterdir()) == []
    folder = tmp_path / "files" / "bin"
    (folder / "gridctl").mkdir(parents=True)
    (folder / "gridctl" / "x").write_text("x")
    (folder / "gridctl.py").symlink_to(target / "victim")
    place(tmp_path / "files", python=sys.executable)
    assert (folder / "gridctl").stat().st_mode & 0o777 == 0o700
    assert not (folder / "gridctl.py").is_symlink() and not (target / "victim").exists()
