"""What of this machine a sandbox shows."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from uuid import uuid4

from grid.conf import conf
from grid.public_types import Limits
from grid.sandboxes import bwrap, mounts
from grid.sandboxes.base import Request


def shown(tmp_path: Path, path: str, state_dir: Path) -> set[Path]:
    return set(mounts.readable(python=sys.executable, path=path, state_dir=state_dir))


def test_a_folder_of_programs_is_shown_with_the_packages_that_its_links_point_to(tmp_path: Path) -> None:
    modules = tmp_path / "prefix" / "lib" / "node_modules"
    (modules / "@openai" / "codex" / "bin").mkdir(parents=True)
    (modules / "@openai" / "codex" / "bin" / "codex.js").touch()
    single = tmp_path / "share" / "claude-1.2.3"
    single.parent.mkdir()
    single.touch()
    (tmp_path / "share" / "private").touch()
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "codex").symlink_to(modules / "@openai" / "codex" / "bin" / "codex.js")
    (folder / "claude").symlink_to("../share/claude-1.2.3")
    (folder / "gone").symlink_to("nowhere")
    found = shown(tmp_path, f"/usr/bin:{folder}", tmp_path / "state")
    assert {folder, modules, single} <= found
    assert not any(path in found for path in (tmp_path / "share", tmp_path / "share" / "private", Path("/usr/bin")))


def test_our_sources_and_interpreter_are_shown_and_nothing_else_of_the_checkout(tmp_path: Path) -> None:
    found = shown(tmp_path, "/usr/bin:/bin", tmp_path / "state")
    assert mounts.PACKAGE in found
    root = mounts.PACKAGE.parent
    below = {path.relative_to(root).parts[0] for path in found if path.is_relative_to(root)}
    assert below <= {"grid", ".venv"}
    assert root not in found


def test_no_folder_around_the_state_folder_or_a_whole_home_is_shown(tmp_path: Path) -> None:
    state = tmp_path / "around" / "state"
    state.mkdir(parents=True)
    found = shown(tmp_path, f"{tmp_path / 'around'}:{state}:{Path.home()}:/", state)
    assert not any(state.is_relative_to(path) or path.is_relative_to(state) for path in found)
    assert Path.home() not in found
    assert Path("/") not in found


def test_coding_clis_that_are_installed_in_the_state_folder_are_shown(tmp_path: Path) -> None:
    modules = tmp_path / "agents" / "node_modules"
    (modules / "codex").mkdir(parents=True)
    (modules / "codex" / "codex.js").touch()
    (tmp_path / "agents" / "bin").mkdir()
    (tmp_path / "agents" / "bin" / "codex").symlink_to("../node_modules/codex/codex.js")
    found = shown(tmp_path, f"{tmp_path / 'agents' / 'bin'}", tmp_path)
    assert {path for path in found if path.is_relative_to(tmp_path)} == {tmp_path / "agents" / "bin", modules}


def test_links_are_followed_as_they_are_written_when_a_folder_on_the_way_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "node_modules" / "codex").mkdir(parents=True)
    (tmp_path / "disk" / "node_modules" / "codex" / "codex.js").touch()
    (tmp_path / "disk" / "bin").mkdir()
    (tmp_path / "disk" / "bin" / "codex").symlink_to("../node_modules/codex/codex.js")
    (tmp_path / "cli").symlink_to(tmp_path / "disk")
    found = shown(tmp_path, str(tmp_path / "cli" / "bin"), tmp_path / "state")
    assert {tmp_path / "cli" / "bin", tmp_path / "cli" / "node_modules", tmp_path / "disk" / "node_modules"} <= found


def test_walls_bind_two_folders_for_writing_and_hide_the_rest(tmp_path: Path) -> None:
    settings = dataclasses.replace(conf(), state_dir=tmp_path)
    request = Request(
        execution_id=uuid4(),
        fence=1,
        phase="agent",
        phase_dir=tmp_path / "phase",
        workspace=tmp_path / "workspace",
        home=tmp_path / "home",
        objects=tmp_path / "repositories" / "app.git" / "objects",
        argv=("true",),
        env={},
        limits=Limits(),
        settings=settings,
    )
    words = bwrap.walls(request, readable=[], sockets=None)
    writable = [words[index + 1] for index, word in enumerate(words) if word == "--bind"]
    assert writable == [str(request.home), str(request.workspace)]
    readable = [words[index + 1] for index, word in enumerate(words) if word == "--ro-bind"]
    assert [path for path in readable if path.startswith(str(tmp_path))] == [str(request.objects)]
    assert words[words.index("--proc") : words.index("--proc") + 4] == ("--proc", "/proc", "--remount-ro", "/proc")
    assert not {"/etc/passwd", "/etc/shadow", "/etc", "/root", "/home", "/"} & set(readable)
    assert words[-3:] == ("--remount-ro", "/", "--")
