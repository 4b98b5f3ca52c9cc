"""The model gateway: time to the first byte of a streamed call through it, beside the same call made directly, in turn.

The provider is a double on loopback that answers at once, so all that is seen is ours: token looked up, capability and
budget checked, money set aside and the event written before the request goes on.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any

from django.apps import apps

from bench.perf import servers, tokens
from bench.perf.figures import Figure, PerfError, percentile, spread

GOAL_MS = 5.0
"""What a call may lose on the way."""
MODEL = "claude-haiku-4-5"
_PROMPT = "Read the file, find the mistake, and say what it is. " * 150


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """The figure first_byte.p50."""
    samples, warm_up, agents = int(params["samples"]), int(params["warm_up"]), int(params["agents"])
    bearers = tokens.running(agents)
    with servers.web("bench.perf.streaming") as provider:
        known = {
            "GATEWAY_PROVIDERS": "anthropic",
            "GATEWAY_ANTHROPIC_URL": f"http://127.0.0.1:{provider}",
            "GATEWAY_ANTHROPIC_API_KEY": "of a benchmark",
        }
        with servers.web("agentgrid.asgi", **known) as ours:
            direct, through = _Client(provider, "/v1/messages"), _Client(ours, "/gateway/anthropic/v1/messages")
            direct_ms, through_ms, whole_ms = list[float](), list[float](), list[float]()
            for number in range(warm_up + samples):
                # A different agent each time: none comes near the rate that one may have.
                bearer = bearers[number % agents]
                floor, _ = direct.call(bearer)
                first, whole = through.call(bearer)
                if number >= warm_up:
                    direct_ms.append(floor)
                    through_ms.append(first)
                    whole_ms.append(whole)
    calls = apps.get_model("coordinator", "ModelCall").objects
    settled = calls.filter(state="settled", is_estimated=False, output_tokens=20).count()
    if settled != warm_up + samples:
        raise PerfError(f"{settled} calls are metered and settled, but {warm_up + samples} were made")
    value, floor = percentile(through_ms, 0.5), percentile(direct_ms, 0.5)
    return [
        Figure(
            name=f"{params['name']}.first_byte.p50",
            unit="ms",
            value=value,
            floor=floor,
            goal=floor + GOAL_MS,
            met=value <= floor + GOAL_MS,
            extra={
                "samples": samples,
                "added": value - floor,
                "spread": spread(through_ms),
                "floor_spread": spread(direct_ms),
                "whole_call_p50": percentile(whole_ms, 0.5),
                "body_bytes": len(_BODY),
            },
        )
    ]


_BODY = json.dumps(
    {"model": MODEL, "max_tokens": 200, "stream": True, "messages": [{"role": "user", "content": _PROMPT}]}
).encode()


class _Client:
    """One kept connection."""

    def __init__(self, port: int, path: str) -> None:
        self._connection, self._path = http.client.HTTPConnection("127.0.0.1", port, timeout=30), path

    def call(self, bearer: str) -> tuple[float, float]:
        """Milliseconds to the first byte of the answer's body, and to its end."""
        began = time.perf_counter()
        headers = {"content-type": "application/json", "x-api-key": bearer, "anthropic-version": "2023-06-01"}
        self._connection.request("POST", self._path, _BODY, headers)
        answer = self._connection.getresponse()
        start = answer.read(1)
        first = (time.perf_counter() - began) * 1000
        rest = answer.read()
        if answer.status != 200 or b"message_stop" not in rest:
            raise PerfError(f"{self._path} answered {answer.status}: {(start + rest)[:300]!r}")
        return first, (time.perf_counter() - began) * 1000
