"""The scripted model server, in every dialect, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from grid.public_testing import FakeModel, Script

Json = dict[str, Any]
STEPS: list[Json] = [
    {"text": "Look.", "calls": [{"shell": "ls"}], "usage": {"input": 7, "output": 3, "cached": 2}},
    {"text": "Done.", "usage": {"input": 9, "output": 4}},
]
SHELL = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
CASES: dict[str, tuple[str, Json, Json]] = {
    "anthropic": (
        "/v1/messages",
        {"tools": [{"name": "Bash", "input_schema": SHELL}]},
        {"role": "assistant", "content": "Look."},
    ),
    "responses": (
        "/v1/responses",
        {"tools": [{"type": "function", "name": "shell", "parameters": SHELL}]},
        {"type": "function_call", "name": "shell"},
    ),
    "chat": (
        "/v1/chat/completions",
        {"tools": [{"type": "function", "function": {"name": "bash", "parameters": SHELL}}]},
        {"role": "assistant", "content": "Look."},
    ),
    "gemini": (
        "/v1beta/models/m:streamGenerateContent",
        {"tools": [{"functionDeclarations": [{"name": "run_shell_command", "parametersJsonSchema": SHELL}]}]},
        {"role": "model", "parts": []},
    ),
    "ollama": (
        "/api/chat",
        {"tools": [{"type": "function", "function": {"name": "bash", "parameters": SHELL}}]},
        {"role": "assistant", "content": "Look."},
    ),
}
HISTORY = {"responses": "input", "gemini": "contents"}


def ask(model: FakeModel, dialect: str, *, turns: int = 0, stream: bool = True) -> httpx.Response:
    path, body, answer = CASES[dialect]
    path = path if stream else path.replace("streamGenerate", "generate")
    history = [{"role": "user", "content": "Go."}, *([answer] * turns)]
    whole = {"model": "m", "stream": stream, **body, HISTORY.get(dialect, "messages"): history}
    return httpx.post(
        model.url + path, json=whole, headers={"authorization": "Bearer key-1"}, timeout=10, trust_env=False
    )


@pytest.mark.parametrize("dialect", sorted(CASES))
@pytest.mark.parametrize("stream", [True, False])
def test_each_dialect_calls_the_shell_and_ends(dialect: str, stream: bool) -> None:
    with FakeModel(STEPS) as model:
        first, second = ask(model, dialect, stream=stream), ask(model, dialect, turns=1, stream=stream)
    assert first.status_code == second.status_code == 200
    assert "ls" in first.text and "Look." in first.text
    assert "Done." in second.text and "Look." not in second.text
    assert [request["step"] for request in model.requests] == [0, 1]
    assert {request["key"] for request in model.requests} == {"key-1"}
    assert {request["dialect"] for request in model.requests} == {dialect}


@pytest.mark.parametrize("dialect", sorted(CASES))
def test_a_step_may_refuse(dialect: str) -> None:
    with FakeModel([{"status": 401, "error": "no such key"}]) as model:
        answer = ask(model, dialect)
    assert answer.status_code == 401
    assert "no such key" in answer.text


def test_a_stream_may_break_in_the_middle() -> None:
    with FakeModel([{"text": "Half.", "cut": True}]) as model, pytest.raises(httpx.RemoteProtocolError):
        ask(model, "anthropic")


def test_steps_may_come_by_request_instead_of_history() -> None:
    with FakeModel(Script(STEPS, mode="sequential")) as model:
        texts = [ask(model, "chat", stream=False).json()["choices"][0]["message"]["content"] for _ in range(3)]
    assert texts == ["Look.", "Done.", "Done."]


def test_requests_without_tools_use_up_no_step() -> None:
    with FakeModel(STEPS) as model:
        answer = httpx.post(
            f"{model.url}/v1/messages", json={"model": "m", "messages": []}, timeout=10, trust_env=False
        )
    assert json.loads(answer.text)["content"][0]["text"] == "A scripted session"
    assert model.requests[0]["step"] is None
