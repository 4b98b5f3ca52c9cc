"""The built-in agent with the real clients of its providers, against a model server on this machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.unit.grid.agents.support.fake_model import FakeModel
from tests.unit.grid.agents.support.runs import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    return Place(root=tmp_path)


WORK: list[dict[str, Any]] = [
    {"text": "I write.", "calls": [("write_file", {"path": "hello.txt", "content": "hello\n"})]},
    {"calls": [("run_command", {"command": "cat hello.txt"}), ("list_files", {})]},
    {"calls": [("finish", {"outcome": "done", "summary": "Wrote hello.txt."})]},
]


@pytest.mark.parametrize(
    ("model_name", "suffix", "env", "path", "key"),
    [
        ("anthropic:claude-sonnet-4-5", "", {"ANTHROPIC_API_KEY": "key-1"}, "/v1/messages", "Bearer key-1"),
        ("openai:gpt-5", "/v1", {"OPENAI_API_KEY": "key-2"}, "/v1/chat/completions", "Bearer key-2"),
        ("ollama:qwen3:8b", "/v1", {}, "/v1/chat/completions", "Bearer none"),
    ],
)
def test_real_clients_drive_the_same_loop(
    place: Place, model_name: str, suffix: str, env: dict[str, str], path: str, key: str
) -> None:
    with FakeModel(WORK) as model:
        options = {"model": model_name, "base_url": model.url + suffix, "instructions": "Be brief."}
        ran = place.run("builtin", options, env=env, is_forked=False)  # it finds its client by itself

    assert ran.verdict.ok, (ran.verdict, ran.err)
    assert (place.files.workspace / "hello.txt").read_text() == "hello\n"
    assert {request["path"].partition("?")[0] for request in model.requests} == {path}
    assert {request["key"] for request in model.requests} == {key}
    assert {request["body"]["model"] for request in model.requests} == {model_name.partition(":")[2]}
    assert "Be brief." in json.dumps(model.requests[0]["body"])
    usage = json.loads(ran.out.splitlines()[-1])["usage"]
    assert usage | {"cache_write_tokens": 0} == {
        "requests": 3,
        "input_tokens": 300,
        "output_tokens": 60,
        "cache_read_tokens": 90,
        "cache_write_tokens": 0,
        "tool_calls": 4,
    }


@pytest.mark.parametrize("status", [401, 400])
def test_a_refusal_of_the_provider_fails_the_run_at_once(place: Place, status: int) -> None:
    with FakeModel([{"status": status}]) as model:
        options = {"model": "anthropic:claude-sonnet-4-5", "base_url": model.url}
        ran = place.run("builtin", options, env={"ANTHROPIC_API_KEY": "key-secret"})

    assert not ran.verdict.ok
    assert str(status) in ran.verdict.reason
    assert "scripted refusal" in ran.verdict.reason
    assert b"key-secret" not in ran.out + ran.err
    assert len(model.requests) == 1


def test_a_provider_that_is_not_there_fails_the_run(place: Place) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        ran = place.run("builtin", {"model": "ollama:qwen3", "base_url": url})

    assert not ran.verdict.ok
    assert "Connection" in ran.verdict.reason


@pytest.mark.parametrize(("model", "variable"), [("anthropic:c", "ANTHROPIC_API_KEY"), ("openai:g", "OPENAI_API_KEY")])
def test_a_missing_key_is_named_with_its_remedy(place: Place, model: str, variable: str) -> None:
    ran = place.run("builtin", {"model": model})

    assert f"{variable} is not set for the agent" in ran.verdict.reason
    assert "AGENTGRID_AGENT_ENV_ALLOW" in ran.verdict.reason


def test_a_model_that_only_talks_is_reminded_and_then_failed(place: Place) -> None:
    with FakeModel([{"text": "I think about it."}]) as model:
        ran = place.run("builtin", {"model": "openai:talker", "base_url": model.url + "/v1"})

    assert not ran.verdict.ok
    assert "without calling finish" in ran.verdict.reason
    assert len(model.requests) == 4


@pytest.mark.parametrize(("status", "falls_back"), [(503, True), (402, False)])
def test_the_next_model_is_asked_after_trouble_but_never_after_a_refusal(
    place: Place, status: int, falls_back: bool
) -> None:
    with FakeModel([{"status": status}]) as broken, FakeModel(WORK) as other:
        gateway = {"openai": broken.url + "/v1", "ollama": other.url + "/v1"}
        options = {"model": "openai:first", "fallback_models": ["ollama:second"], "gateway": gateway}
        ran = place.run("builtin", options, env={"OPENAI_API_KEY": "token", "OLLAMA_API_KEY": "token"})

    assert ran.verdict.ok is falls_back, ran.verdict
    assert bool(other.requests) is falls_back
    assert {request["key"] for request in other.requests} <= {"Bearer token"}
    if not falls_back:
        assert "402" in ran.verdict.reason
        assert "scripted refusal" in ran.verdict.reason


def test_when_no_model_answers_each_says_why(place: Place) -> None:
    with FakeModel([{"status": 503}]) as broken:
        gateway = {"openai": broken.url + "/v1", "ollama": "http://127.0.0.1:9/v1"}
        options = {"model": "openai:first", "fallback_models": ["ollama:second"], "gateway": gateway}
        ran = place.run("builtin", options, env={"OPENAI_API_KEY": "token"})

    assert not ran.verdict.ok
    assert "503" in ran.verdict.reason
    assert "Connection error" in ran.verdict.reason
