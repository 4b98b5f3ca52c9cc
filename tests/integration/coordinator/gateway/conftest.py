"""An agent with a running execution and its token, our gateway in front of a provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from coordinator.gateway import admission, upstream
from coordinator.gateway.asgi import application
from coordinator.models import Agent, Envelope, ModelCall
from coordinator.money import budgets
from coordinator.rules import capability
from coordinator.rules.capability import Capability
from coordinator.web.connections import lender
from grid import bearers
from grid.models import Event, Execution
from tests.factories import make_agent, make_execution, make_git_repository
from tests.integration.coordinator.gateway.provider import Provider, serving

KEY = "sk-real-canary-5f1c7d20"
MODELS = frozenset({"anthropic:claude-haiku-4-5", "openai:gpt-5*", "gemini:gemini-2.5-flash", "ollama:*"})


@dataclass
class World:
    """Where the gateway is, whose token this is, what the provider does."""

    provider: Provider
    url: str
    client: httpx.Client
    agent: Agent
    execution_id: UUID
    token: str

    def post(self, path: str, body: Any, *, token: str | None = None, **more: Any) -> httpx.Response:
        """Call the gateway as an agent."""
        headers = {"authorization": f"Bearer {self.token if token is None else token}", **more.pop("headers", {})}
        return self.client.post(f"{self.url}/gateway/{path}", json=body, headers=headers, **more)

    def message(self, **changes: Any) -> httpx.Response:
        """An ordinary call of Anthropic's API."""
        body = {
            "model": "claude-haiku-4-5",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "SECRET-PROMPT"}],
        }
        return self.post("anthropic/v1/messages", {**body, **changes})

    def call(self) -> ModelCall:
        """The only one."""
        return ModelCall.objects.get()

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What the gateway recorded, in order."""
        rows = Event.objects.filter(stream=f"execution:{self.execution_id}", body__metered=True).order_by("seq")
        return list(rows.values_list("kind", "body"))

    def stop_reason(self) -> str:
        """Why its execution is to stop; empty: it is not."""
        return Execution.objects.get(pk=self.execution_id).stop_reason

    def tree(self) -> Envelope:
        """The envelope with the limits."""
        return Envelope.objects.get(kind="tree")

    def limit(self, **limits: int | None) -> None:
        """Limits of the tree; none anywhere else."""
        Envelope.objects.update(usd_limit_micros=None, tokens_limit=None)
        Envelope.objects.filter(kind="tree").update(**limits)


def running(subject: str) -> tuple[UUID, str]:
    """An execution that a host holds, and its token."""
    run = make_execution(subject)
    soon = timezone.now() + timedelta(hours=1)
    Execution.objects.filter(pk=run.pk).update(state="running", token=1, host="h", lease_until=soon, started_at=soon)
    return run.pk, bearers.mint(run.pk, fence=1)


@pytest.fixture(scope="package")
def gateway_url() -> Iterator[str]:
    with serving(application, close=upstream.close) as url:
        yield url


@pytest.fixture(scope="package")
def provider_server() -> Iterator[tuple[str, dict[str, Provider]]]:
    """One server for all tests; what it does is each test's own."""
    box: dict[str, Provider] = {}

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        await box["now"](scope, receive, send)

    with serving(dispatch) as url:
        yield url, box


@pytest.fixture
def world(
    transactional_db: None, tmp_path: Path, settings: Settings, gateway_url: str, provider_server: Any
) -> Iterator[World]:
    url, box = provider_server
    box["now"] = provider = Provider()
    admission.forget()
    settings.GATEWAY = {name: {"url": url, "key": KEY} for name in ("anthropic", "openai", "gemini", "ollama")}
    agent = make_agent(make_git_repository(tmp_path / "repo"))
    held = Capability(tier=capability.MAX_TIER, models=MODELS, tools=frozenset(), children=0, depth=0, share=0)
    execution_id, token = running(agent.subject)
    Agent.objects.filter(pk=agent.pk).update(capability=capability.as_json(held), execution_id=execution_id)
    agent.refresh_from_db()
    budgets.path_of(agent.envelope)
    # Plain HTTP: reading the machine's certificates would take longer than the call.
    with httpx.Client(timeout=20, trust_env=False, verify=False) as client:
        yield World(provider, gateway_url, client, agent, execution_id, token)
    provider.go_on.set()
    lender.close()
