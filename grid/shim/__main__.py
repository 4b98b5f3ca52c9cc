"""A shim by a cold start.

    python -I -S grid/shim/__main__.py SPEC.json      returns once the agent runs; the shim goes on by itself

The exit code is the start code of `grid.shim.start`. Kept small: a main script is never cached as bytecode.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # -I leaves it out

from grid.shim.start import cold_start

if __name__ == "__main__":
    cold_start(sys.argv[1])
