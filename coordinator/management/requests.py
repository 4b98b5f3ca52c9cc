"""From the arguments of `submit` to a submission."""

from __future__ import annotations

import json
from typing import Any

from coordinator.management import files
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import Submission

_MAX_BODY_BYTES = 512 << 10
"""More than any tracker takes; the tracker says how much that is."""
_MAX_SCRIPT_BYTES = 256 << 10
_MAX_COMMANDS = 20


def submission(options: dict[str, Any]) -> Submission:
    """What is asked for. Raises InvalidInputError that names the argument."""
    if len(options["accept"]) > _MAX_COMMANDS:
        raise InvalidInputError(f"--accept was given {len(options['accept'])} times; at most {_MAX_COMMANDS}")
    body = options["body"]
    if options["body_file"]:
        body = files.read(options["body_file"], argument="--body-file", limit=_MAX_BODY_BYTES)
    adapter, agent_options = _agent(options)
    return Submission(
        title=options["title"],
        body=body,
        adapter=adapter,
        options=agent_options,
        profile=options["profile"],
        acceptance=tuple(options["accept"]),
        priority=options["priority"],
        key=options["key"],
    )


def _agent(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    adapter, given = options["agent"], dict(_pair(text) for text in options["option"])
    if options["command"] and options["script"]:
        raise InvalidInputError("--command is for the agent 'command', --script for 'builtin'; give one of them")
    if options["command"]:
        adapter = _implied(adapter, "command", argument="--command")
        given["command"] = options["command"]
    if options["script"]:
        adapter = _implied(adapter, "builtin", argument="--script")
        script = files.read(options["script"], argument="--script", limit=_MAX_SCRIPT_BYTES)
        given |= {"model": "scripted", "script": script}
    if given and not adapter:
        raise InvalidInputError("--option belongs to an agent; name it with --agent")
    return adapter, given


def _implied(adapter: str, name: str, *, argument: str) -> str:
    if adapter not in ("", name):
        raise InvalidInputError(f"{argument} is for the agent {name!r}, not for {adapter!r}; leave one of them out")
    return name


def _pair(text: str) -> tuple[str, Any]:
    """`key=value`; the value is JSON if it can be read as such, else text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidInputError(f"--option {text[:60]!r} is not KEY=VALUE, such as model=ollama:qwen3:8b")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value
