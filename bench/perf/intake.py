"""Webhooks taken in by one web process, beside a bare view in another one of the same kind, in turn.

Both are sent the same signed bodies over kept connections. What is timed ends with the answer: signature checked, known
repository looked up, row committed. Waking a worker is part of it, but none runs: what follows is not intake.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from django.apps import apps

from bench.perf import servers
from bench.perf.figures import Figure, PerfError, percentile, spread

GOAL_RATIO = 0.5
ROUNDS = 3
"""Each server is measured so often, in turn: a machine has moods."""
SCOPE, REMOTE_ID = "acme/widgets", 4_711
_SECRET = "of a benchmark"  # noqa: S105 - of a server that lives for seconds and holds nothing
_BODY_CHARS = 3_000
_ACCEPTED = 202

type Request = tuple[str, bytes, dict[str, str]]


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """Figures rate and p99."""
    requests, warm_up, clients = int(params["requests"]), int(params["warm_up"]), int(params["clients"])
    apps.get_model("tracker", "Repository").objects.create(
        tracker="github", scope=SCOPE, remote_id=REMOTE_ID, source="https://127.0.0.1/none", default_branch="main"
    )
    known = {"GITHUB_WEBHOOK_SECRET": _SECRET}
    with servers.web("agentgrid.asgi", **known) as ours, servers.web("bench.perf.bare", **known) as bare:
        for port, path in ((ours, "/webhooks/github/"), (bare, "/bare/")):
            _send(port, _requests(path, warm_up), clients=clients)
        rates, floors = list[float](), list[float]()
        times, floor_times = list[float](), list[float]()
        for _ in range(ROUNDS):
            _round(bare, _requests("/bare/", requests), clients=clients, rates=floors, times=floor_times)
            _round(ours, _requests("/webhooks/github/", requests), clients=clients, rates=rates, times=times)
    expected, stored = ROUNDS * requests + warm_up, apps.get_model("tracker", "Delivery").objects.count()
    if stored != expected:
        raise PerfError(f"{stored} deliveries are stored, but {expected} were accepted")
    rate, floor = percentile(rates, 0.5), percentile(floors, 0.5)
    extra = {"requests": ROUNDS * requests, "clients": clients, "body_bytes": len(_body(1))}
    return [
        Figure(
            name=f"{params['name']}.rate",
            unit="requests/s",
            value=rate,
            floor=floor,
            goal=GOAL_RATIO * floor,
            met=rate >= GOAL_RATIO * floor,
            extra={**extra, "rounds": rates, "floor_rounds": floors},
        ),
        Figure(
            name=f"{params['name']}.p99",
            unit="ms",
            value=percentile(times, 0.99),
            floor=percentile(floor_times, 0.99),
            extra={**extra, "spread": spread(times), "floor_spread": spread(floor_times)},
        ),
    ]


def _round(port: int, requests: Sequence[Request], *, clients: int, rates: list[float], times: list[float]) -> None:
    began = time.perf_counter()
    found = _send(port, requests, clients=clients)
    rates.append(len(requests) / (time.perf_counter() - began))
    times += found


def _send(port: int, requests: Sequence[Request], *, clients: int) -> list[float]:
    """Milliseconds of each request, sent by several clients at once, one after the other by each."""

    def run(mine: Sequence[Request]) -> list[float]:
        connection, found = http.client.HTTPConnection("127.0.0.1", port, timeout=30), []
        for path, body, headers in mine:
            began = time.perf_counter()
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            found.append((time.perf_counter() - began) * 1000)
            if answer.status != _ACCEPTED:
                raise PerfError(f"{path} answered {answer.status}: {text[:300]!r}")
        connection.close()
        return found

    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(run, [requests[number::clients] for number in range(clients)]))
    return [one for part in parts for one in part]


def _requests(path: str, count: int) -> list[Request]:
    """Different ones, signed beforehand."""
    found = []
    for number in range(1, count + 1):
        body = _body(number)
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "issues",
            "X-GitHub-Delivery": str(uuid4()),
            "X-Hub-Signature-256": "sha256=" + hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest(),
        }
        found.append((path, body, headers))
    return found


def _body(number: int) -> bytes:
    """As large as GitHub's about an ordinary issue: some 10 kB, most of it addresses."""
    root = f"https://api.github.com/repos/{SCOPE}"
    urls = {f"{name}_url": f"{root}/{name}{{/number}}" for name in _LINKS}
    person = {"login": "mona", "id": 583_231, "type": "User", **urls}
    issue = {"id": 9_000_000 + number, "number": number, "title": "Do it", "body": "A word. " * (_BODY_CHARS // 8)}
    repository = {"id": REMOTE_ID, "full_name": SCOPE, "owner": person, **urls}
    payload = {"action": "opened", "issue": {**issue, "user": person, **urls}, "repository": repository}
    return json.dumps({**payload, "sender": person}).encode()


_LINKS = (
    *("followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events", "received"),
    *("labels", "comments", "timeline", "milestones", "hooks", "keys", "teams", "branches", "tags", "blobs", "trees"),
)
