"""The set-up finds a usable Python, or says plainly what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OLD = "#!/bin/sh\necho 'Python 3.9.2'\nexit 1\n"


def find_python(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / ".ci/find-python")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_real_one_on_path_is_taken(tmp_path: Path) -> None:
    (tmp_path / "python3.12").symlink_to(sys._base_executable)  # type: ignore[attr-defined]  # set in virtual environments
    done = find_python(PATH=f"{tmp_path}:{os.defpath}")
    assert done.returncode == 0, done.stderr
    version = subprocess.run(
        [done.stdout.strip(), "-c", "import sys; print(sys.version_info >= (3, 12))"], capture_output=True
    )
    assert version.stdout.strip() == b"True"


def test_an_old_or_broken_one_first_on_path_is_passed_over(tmp_path: Path) -> None:
    for name in ("python3.14", "python3.13", "python3", "python"):
        program(tmp_path / "old" / name, OLD)
    good = tmp_path / "home" / ".pyenv/versions/3.12.1/bin/python3.12"
    good.parent.mkdir(parents=True)
    good.symlink_to(sys._base_executable)  # type: ignore[attr-defined]  # set in virtual environments
    done = find_python(PATH=f"{tmp_path / 'old'}:/usr/bin:/bin", HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "old") not in done.stdout


def test_the_named_one_is_used_or_refused(tmp_path: Path) -> None:
    done = find_python(PATH=os.defpath, PYTHON=str(program(tmp_path / "python3", OLD)))
    assert done.returncode == 1
    assert "unset PYTHON" in done.stderr
    assert done.stdout == ""
    done = find_python(PATH=os.defpath, PYTHON=sys.executable)
    assert done.returncode == 0


def test_with_none_at_all_it_says_what_to_install(tmp_path: Path) -> None:
    # The search also looks at fixed places; a copy that knows none of them stands for a machine without Python.
    text = (ROOT / ".ci/find-python").read_text()
    for place in ("/root/.pyenv", "/opt/pyenv", "/usr/local/bin/", "/opt/*/", "/opt/homebrew/", "/usr/bin/python"):
        text = text.replace(place, "/nonexistent/")
    script = program(tmp_path / "find-python", text)
    (tmp_path / "bin").mkdir()
    done = subprocess.run(
        ["/bin/sh", str(script)],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}])
def test_neither_home_nor_a_rich_path_is_needed(environment: dict[str, str]) -> None:
    done = find_python(PATH="/usr/bin:/bin", **environment)
    # Whether there is one depends on the machine; the answer must be a usable path or help, never a shell error.
    if done.returncode == 0:
        assert Path(done.stdout.strip()).is_absolute()
    else:
        assert "PYTHON=/path/to/python3.12" in done.stderr
