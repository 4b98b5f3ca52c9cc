"""What of this machine an agent may read: programs, libraries, certificates, our own helpers. Nothing of the state folder.

Everything is named, nothing is taken away: what is not listed is not there.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    *("ld.so.cache", "alternatives", "localtime", "os-release", "mime.types", "services"),
    *("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "pki/ca-trust/extracted", "crypto-policies"),
)
"""Of /etc: what programs need to start, and to know certificates. No passwords, keys, mounts, or other people's settings.
Each mount costs every start half a millisecond."""
STUBS = Path(__file__).with_name("etc")
"""Files of our own that stand for those of /etc."""
INSTALLED = "agents"
"""In the state folder: where `make agents-install` puts coding CLIs."""
PACKAGE = Path(__file__).resolve().parents[1]
"""The built-in agent's sources, and what starts agents in a sandbox."""
_INTERPRETER = ("bin", "lib", "lib64")


@functools.lru_cache(maxsize=16)
def readable(*, python: str, path: str, state_dir: Path) -> tuple[Path, ...]:
    """Folders and files beyond SYSTEM, ETC and STUBS, outermost first.

    Args:
        python: Interpreter of our helpers: with its virtual environment and what that was made from.
        path: PATH of the agents: each folder with what its links point to.
        state_dir: Nothing in it (but INSTALLED) or around it is shown, whatever the others say.
    """
    wanted = {PACKAGE, *_interpreter(Path(python)), *(p for folder in path.split(":") for p in _programs(Path(folder)))}
    wanted = {p for p in wanted if p.is_absolute() and not _is_private(p, state_dir.resolve())}
    outer = sorted(p for p in wanted if not any(p != other and p.is_relative_to(other) for other in wanted))
    return tuple(p for p in outer if not p.is_relative_to("/usr"))


def _is_private(path: Path, state_dir: Path) -> bool:
    """Whether showing this would show the state folder, but for the coding CLIs installed there, or somebody's whole home."""
    real = path.resolve()
    if real.is_relative_to(state_dir / INSTALLED):
        return False
    return (
        state_dir.is_relative_to(real) or real.is_relative_to(state_dir) or real in (Path("/"), Path.home().resolve())
    )


def _interpreter(python: Path) -> Iterator[Path]:
    """An installation of Python, followed link by link: a virtual environment names its base in `pyvenv.cfg`."""
    seen = python
    for _ in range(8):
        prefix = seen.parent.parent
        if (prefix / "pyvenv.cfg").exists():  # made for nothing else
            yield prefix
        yield from (prefix / name for name in _INTERPRETER if (prefix / name).exists())
        if not seen.is_symlink():
            return
        seen = Path(os.path.normpath(seen.parent / seen.readlink()))


def _programs(folder: Path) -> Iterator[Path]:
    """A folder of programs, and the packages and files that its links point to."""
    if not folder.is_dir() or folder.resolve().is_relative_to("/usr"):
        return
    yield folder
    for entry in folder.iterdir():
        for place in _hops(entry):
            if place.is_relative_to("/usr") or not place.exists():
                continue
            if "node_modules" in place.parts:  # a package needs its neighbours
                yield Path(*place.parts[: place.parts.index("node_modules") + 1])
            elif (place.parent.parent / "pyvenv.cfg").exists():
                yield from _interpreter(place.parent / "python")
            else:
                yield place


def _hops(entry: Path) -> Iterator[Path]:
    """Where a link leads, as it is written, link by link, and in the end: folders on the way may be links as well."""
    seen = entry
    for _ in range(8):
        if not seen.is_symlink():
            break
        seen = Path(os.path.normpath(seen.parent / seen.readlink()))
        yield seen
    if seen != entry:
        yield entry.resolve()
