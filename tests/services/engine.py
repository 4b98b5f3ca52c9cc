"""A container engine for tests: podman's, in folders of its own, with an image made of this machine's files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

IMAGE = "agentgrid-test"
_APPLETS = ("sh", "ls", "cat", "id", "env", "sleep", "true")


@pytest.fixture(scope="session")
def docker_image() -> Iterator[str]:
    """Name of an image with python3 and a shell, in an engine that DOCKER_HOST names while the fixture lives."""
    missing = [name for name in ("podman", "busybox", "/usr/bin/python3") if shutil.which(name) is None]
    if shutil.which("runc") is None and shutil.which("crun") is None:
        missing.append("runc")
    if missing or os.geteuid():
        why = f"containers need root and podman, runc, busybox and python3; missing: {', '.join(missing) or 'root'}"
        pytest.fail(why) if os.environ.get("CI") and not os.geteuid() else pytest.skip(why)
    # Short, since podman takes no run root of more than 50 characters, nor a socket of more than 107.
    folder = Path(tempfile.mkdtemp(prefix="ag-pod-"))
    podman = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--cgroup-manager=cgroupfs"]
    socket = folder / "engine.sock"
    _root_file_system(folder / "image.tar")
    made = subprocess.run([*podman, "import", str(folder / "image.tar"), IMAGE], capture_output=True, text=True)
    assert made.returncode == 0, f"podman cannot make the image: {made.stderr[-2000:]}"
    log = (folder / "log").open("wb")
    service = subprocess.Popen([*podman, "system", "service", "--time=0", f"unix://{socket}"], stdout=log, stderr=log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{socket}")
        for _ in range(200):
            if socket.exists():
                break
            time.sleep(0.05)
        yield IMAGE
    subprocess.run([*podman, "rm", "--all", "--force"], capture_output=True)
    service.terminate()
    service.wait(10)
    log.close()
    subprocess.run([*podman, "rmi", "--all", "--force"], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def _root_file_system(target: Path) -> None:
    """Busybox, Python and the libraries that it names: as much of a system as the bridge needs."""
    python = Path("/usr/bin/python3").resolve()
    library = Path("/usr/lib", python.name)
    modules = [str(python), *map(str, library.glob("lib-dynload/_ctypes*.so"))]
    said = subprocess.run(["ldd", *modules], check=True, capture_output=True, text=True).stdout
    with tarfile.open(target, "w") as tar:
        tar.add(shutil.which("busybox") or "", "bin/busybox")
        for name in _APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        tar.add(python, "usr/bin/python3")
        skipped = re.compile(r"/(test|idlelib|dist-packages|__pycache__|lib2to3|pydoc_data)(/|$)")
        tar.add(library, str(library)[1:], filter=lambda info: None if skipped.search(info.name) else info)
        for path in sorted(set(re.findall(r"(/\S+\.so\S*)", said)) - set(modules)):
            if Path(path).is_file():
                tar.add(Path(path).resolve(), path[1:])
