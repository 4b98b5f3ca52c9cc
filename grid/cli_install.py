"""Install the coding CLIs at their pinned versions into a folder of the installation, from npm, without their scripts."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from grid import programs
from grid.agents.pins import PINS, native_path
from grid.conf import conf
from grid.public_errors import GridError

INSTALL_SECONDS = 600.0
_PASSED = re.compile(r"^(PATH|HOME|(npm_config|NPM_CONFIG|NODE|SSL)_.*|(https?|no|HTTPS?|NO)_(proxy|PROXY))$")
"""What npm needs of our environment: registry, certificates, proxies; no secret of ours."""


class InstallError(GridError):
    """npm is missing, failed, or installed something else than expected."""


def install(names: Collection[str]) -> dict[str, Path]:
    """Install these CLIs and link their programs into `<state folder>/agents/bin`, which is first in the PATH of agents.

    No install script of a package runs: the packages hold the native programs themselves.

    Returns:
        The link of each.

    Raises:
        InstallError: The message names the fix.
    """
    unknown = sorted(set(names) - set(PINS))
    if unknown:
        raise InstallError(f"cannot install {', '.join(unknown)}; known: {', '.join(PINS)}")
    npm = shutil.which("npm")
    if npm is None:
        raise InstallError("npm is not in PATH; install Node.js 20 or later (https://nodejs.org)")
    folder = conf().agents_dir
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    wanted = [f"{PINS[name].package}@{PINS[name].version}" for name in names]
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    env = {name: value for name, value in os.environ.items() if _PASSED.match(name)}  # noqa: TID251 - an operator's own program
    ran = programs.run(
        [npm, "install", "--prefix", str(folder), *flags, *wanted], cwd=folder, env=env, timeout=INSTALL_SECONDS
    )
    if ran.code:
        raise InstallError(f"npm ended with {ran.code}: {ran.output.strip()[-1000:]}")
    return {name: _link(folder, name) for name in names}


def _link(folder: Path, name: str) -> Path:
    program = folder / "node_modules" / native_path(PINS[name], platform.machine())
    if not program.is_file():
        raise InstallError(f"{PINS[name].package} holds no program for this machine: {program} is missing")
    program.chmod(program.stat().st_mode | 0o111)
    link, fresh = folder / "bin" / name, folder / "bin" / f".{name}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(program, link.parent))
    return fresh.replace(link)
