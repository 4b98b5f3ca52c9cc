"""One call of a tool of the grid over MCP, beside a bare Django view in a process of its own, in turn."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any

from bench.perf import servers, tokens
from bench.perf.figures import Figure, PerfError, percentile, spread

TOOL = "list_toolsets"
_HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """The figure call.p50."""
    samples, warm_up, agents = int(params["samples"]), int(params["warm_up"]), int(params["agents"])
    bearers = tokens.running(agents)
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": TOOL, "arguments": {}}}
    ).encode()
    ours_ms, bare_ms = list[float](), list[float]()
    with servers.web("agentgrid.asgi") as ours, servers.web("bench.perf.bare") as bare:
        to_bare, to_us = (http.client.HTTPConnection("127.0.0.1", port, timeout=30) for port in (bare, ours))
        for number in range(warm_up + samples):
            floor, _ = _call(to_bare, "/bare/", body, {})
            bearer = bearers[number % agents]
            value, answer = _call(to_us, "/mcp", body, {"authorization": f"Bearer {bearer}"})
            result = json.loads(answer).get("result") or {}
            if result.get("isError") is not False:
                raise PerfError(f"the tool {TOOL} answered {answer[:300]!r}")
            if number >= warm_up:
                ours_ms.append(value)
                bare_ms.append(floor)
    return [
        Figure(
            name=f"{params['name']}.p50",
            unit="ms",
            value=percentile(ours_ms, 0.5),
            floor=percentile(bare_ms, 0.5),
            extra={"samples": samples, "tool": TOOL, "spread": spread(ours_ms), "floor_spread": spread(bare_ms)},
        )
    ]


def _call(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[float, bytes]:
    """Milliseconds of one request, and the answer's body."""
    began = time.perf_counter()
    connection.request("POST", path, body, {**_HEADERS, **headers})
    answer = connection.getresponse()
    text = answer.read()
    took = (time.perf_counter() - began) * 1000
    if answer.status not in (200, 202):
        raise PerfError(f"{path} answered {answer.status}: {text[:300]!r}")
    return took, text
