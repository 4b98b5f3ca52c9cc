"""The inner half of a benchmark: runs inside its installation, prints one JSON object per figure.

    python -m bench.perf MODULE PARAMS

Started by `manage.py perf`, which prepares the installation and passes it by the environment.
"""

from __future__ import annotations

import importlib
import json
import sys

import django

from bench.perf.figures import PerfError

django.setup()

MODULES = (
    *("dispatching", "throughput", "memory", "resume_query", "intake", "gateway", "mcp_calls", "adapter_start"),
    *("ingest", "readers", "resume_children", "conditional", "preparing"),
)


def main(module: str, params: str) -> None:
    """Measure and print."""
    if module not in MODULES:
        raise SystemExit(f"{module!r} is not one of {', '.join(MODULES)}; use `manage.py perf`")
    try:
        figures = importlib.import_module(f"bench.perf.{module}").measure(json.loads(params))
    except PerfError as error:
        raise SystemExit(str(error)) from error
    for figure in figures:
        sys.stdout.write(json.dumps(figure.as_json()) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
