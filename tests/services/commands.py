"""Management commands as processes that need not load Django, see `tests.services.loaded`."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile

from tests.services.loaded import Template


def run(
    template: Template, environment: dict[str, str], *args: str, stdin: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run one command; may be called by several threads.

    Raises:
        subprocess.TimeoutExpired: It was killed, `timeout` seconds after it started.
    """
    with contextlib.ExitStack() as stack:
        given, out, errors = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        given.write(stdin.encode())
        given.seek(0)
        streams = (given.fileno(), out.fileno(), errors.fileno())
        process = template.start("manage", *args, environment=environment, streams=streams)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise subprocess.TimeoutExpired(["manage.py", *args], timeout) from None
        printed = []
        for file in (out, errors):
            file.seek(0)
            printed.append(file.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess(["manage.py", *args], code, *printed)
