"""Files of ours in a HOME that somebody hostile has used."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from grid import placing


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("keep")
    return tmp_path / "home"


def outside(home: Path) -> list[str]:
    return sorted(path.name for path in (home.parent / "outside").iterdir())


def test_a_file_is_written_with_its_folders_and_mode(home: Path) -> None:
    placing.write(home, ".config/tool/settings.json", b"{}", mode=0o640)
    path = home / ".config/tool/settings.json"
    assert path.read_bytes() == b"{}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_takes_the_place_of_what_is_there(home: Path) -> None:
    for old in (b"first", b"second"):
        placing.write(home, "a/b", old)
    (home / "c").mkdir()
    (home / "c" / "inside").write_text("x")
    placing.write(home, "c", b"third")
    assert ((home / "a/b").read_bytes(), (home / "c").read_bytes()) == (b"second", b"third")


def test_no_link_in_the_place_of_the_file_is_followed(home: Path) -> None:
    (home / "settings").symlink_to(home.parent / "outside" / "precious")
    placing.write(home, "settings", b"ours")
    assert (home.parent / "outside" / "precious").read_text() == "keep"
    assert (home / "settings").read_bytes() == b"ours"


def test_no_link_in_the_place_of_a_folder_is_followed(home: Path) -> None:
    (home / ".agentgrid").symlink_to(home.parent / "outside")
    placing.write(home, ".agentgrid/builtin.json", b"ours")
    assert outside(home) == ["precious"]
    assert (home / ".agentgrid/builtin.json").read_bytes() == b"ours"


def test_a_file_in_the_place_of_a_folder_gives_way(home: Path) -> None:
    (home / "tmp").write_text("no folder")
    placing.write(home, "tmp/.keep", b"")
    assert (home / "tmp/.keep").is_file()


def test_a_home_that_is_a_link_is_refused(home: Path) -> None:
    link = home.parent / "link"
    link.symlink_to(home.parent / "outside")
    with pytest.raises(OSError, match="link"):
        placing.write(link, "x", b"ours")
    assert outside(home) == ["precious"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
def test_names_stay_below(home: Path, name: str) -> None:
    with pytest.raises(ValueError, match="below"):
        placing.write(home, name, b"")
