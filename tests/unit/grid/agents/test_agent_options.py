from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grid.agents import registry
from grid.agents.base import RunFiles
from grid.agents.errors import InvalidOptionsError

FILES = RunFiles(workspace=Path("/w"), home=Path("/h"), python=sys.executable, path="/usr/bin:/bin")
ROOT = Path(__file__).parents[4]
SCRIPT = "steps: [{call: finish, args: {outcome: done, summary: ok}}]"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("command", {"command": "true"}),
        ("command", {"argv": ["true", ""]}),
        ("builtin", {"model": "scripted", "script": SCRIPT}),
        ("builtin", {"model": "ollama:qwen3:8b", "base_url": "http://127.0.0.1:1/v1", "limits": {"requests": 5}}),
        ("builtin", {"model": "anthropic:claude-sonnet-4-5", "command_timeout_seconds": 5, "instructions": "x"}),
    ],
)
def test_good_options_are_accepted(name: str, options: dict[str, Any]) -> None:
    registry.get(name).validate(options)


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("command", {}, 'give either {"command"'),
        ("command", {"command": "a", "argv": ["b"]}, 'give either {"command"'),
        ("command", {"comand": "a"}, "unknown key 'comand'; did you mean 'command'?"),
        ("command", {"command": "a\0"}, "command: String should match pattern"),
        ("command", {"command": "x" * 30_001}, "command: String should have at most 30000"),
        ("command", {"argv": "true"}, "argv: Input should be a valid list"),
        ("command", {"argv": ["", "a"]}, "argv.0 is empty"),
        ("command", {5: 6}, "5: Keys should be strings"),
        ("builtin", {}, "model: Field required"),
        ("builtin", {"model": "gpt-5"}, "model must be 'scripted' or one of 'anthropic:<model>'"),
        ("builtin", {"model": "openai:"}, "model must be 'scripted' or one of"),
        ("builtin", {"model": "scripted"}, "needs 'script': the text of the script, not its path"),
        ("builtin", {"model": "scripted", "script": "demo.yaml"}, "give its text, not its path"),
        ("builtin", {"model": "scripted", "script": "steps:\n - cal: x"}, "line 2: unknown key 'cal'"),
        ("builtin", {"model": "openai:g", "script": SCRIPT}, "'script' belongs to the model 'scripted'"),
        ("builtin", {"model": "openai:g", "base_url": "file:///etc/passwd"}, "must be an http or https URL"),
        ("builtin", {"model": "openai:g", "base_url": "http://u:p@h/"}, "may not hold a user or password"),
        ("builtin", {"model": "openai:g", "limits": {"requests": 0}}, "limits.requests: Input should be greater"),
        ("builtin", {"model": "openai:g", "limits": {"request": 1}}, "limits: unknown key 'request'; did you mean"),
        ("builtin", {"model": "openai:g", "modell": 1}, "unknown key 'modell'; did you mean 'model'?"),
    ],
)
def test_bad_options_are_refused_with_the_fix(name: str, options: dict[str, Any], complaint: str) -> None:
    adapter = registry.get(name)

    with pytest.raises(InvalidOptionsError) as caught:
        adapter.validate(options)
    assert complaint in str(caught.value)
    assert f"options of the agent '{name}'" in str(caught.value)
    with pytest.raises(InvalidOptionsError):
        adapter.launch(options=options, files=FILES, prompt="")


def test_the_adapters_leave_the_agent_library_to_the_agents_process() -> None:
    code = "import sys, grid.agents.registry; print(sorted({'pydantic_ai', 'django'} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout == "[]\n"


def test_an_unknown_agent_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InvalidOptionsError, match=f"there is no agent 'claud'; use one of: {', '.join(registry.names())}"
    ):
        registry.get("claud")


def test_agents_get_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    monkeypatch.setenv("DATABASE_URL", "canary")
    for name, options in (("command", {"command": "env"}), ("builtin", {"model": "scripted", "script": SCRIPT})):
        launch = registry.get(name).launch(options=options, files=FILES, prompt="x\ud800")
        assert "canary" not in str(launch)
        assert launch.env["HOME"] == "/h"
        assert launch.env["PATH"] == "/usr/bin:/bin"
        assert launch.prompt == (b"x?" if name == "command" else b'{"type": "prompt", "text": "x?"}\n')
