"""Management commands of a stack in one process: a JSON list of arguments in, `[exit code, what it printed]` out.

Loading Django for each of a hundred commands would take longer than everything that they look at.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import django
from django.core.management import CommandError, call_command

from agentgrid import hardening
from agentgrid.supervisor import ROOT
from tests.services.stack import Stack


class Console:
    """The end of the tests."""

    def __init__(self, stack: Stack) -> None:
        command = [stack.python, "-m", "tests.hostile.console"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=stack.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def manage(self, *args: str) -> str:
        """What a command printed; exit code 1 (`it is not done`) is an answer as well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(args) + "\n")
        self._process.stdin.flush()
        code, printed = json.loads(self._process.stdout.readline())
        assert code in (0, 1), printed
        return str(printed)

    def manage_json(self, *args: str) -> Any:
        """What a command with `--json` printed, parsed."""
        return json.loads(self.manage(*args, "--json"))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def serve() -> None:
    """Answer until nobody asks."""
    hardening.hide_memory()
    django.setup()
    for line in sys.stdin:
        out, code = io.StringIO(), 0
        try:
            call_command(*json.loads(line), stdout=out, stderr=out)
        except SystemExit as error:
            code = int(error.code or 0)
        except CommandError as error:
            code, _ = error.returncode, out.write(str(error))
        print(json.dumps([code, out.getvalue()]), flush=True)


if __name__ == "__main__":
    serve()
