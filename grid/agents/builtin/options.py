"""Options of the built-in agent, checked when work is submitted and again where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from grid.agents import validation
from grid.agents.builtin.script import parse_script
from grid.agents.errors import InvalidOptionsError

SCRIPTED = "scripted"
PROVIDERS = ("anthropic", "openai", "ollama")
PROVIDER_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OLLAMA_API_KEY")
"""Variables that hold real keys: for the model's client only, never for commands that the agent runs."""


class Limits(BaseModel):
    """When the loop ends by itself. None means no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    requests: Annotated[int, Field(ge=1, le=1_000)] = 50
    tool_calls: Annotated[int, Field(ge=0, le=10_000)] = 200
    input_tokens: Annotated[int, Field(ge=1)] | None = None
    output_tokens: Annotated[int, Field(ge=1)] | None = None
    total_tokens: Annotated[int, Field(ge=1)] | None = None


class Options(BaseModel):
    """What the built-in agent can be told."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: Annotated[str, StringConstraints(max_length=200)]
    """`scripted`, or `<provider>:<name of the model>`."""
    script: Annotated[str, StringConstraints(max_length=256 * 1024)] = ""
    """Text of the script, for the scripted model."""
    base_url: Annotated[str, StringConstraints(max_length=2_000)] = ""
    """Where the provider listens, when not at its usual address."""
    instructions: Annotated[str, StringConstraints(max_length=65_536)] = ""
    """Added to the agent's own system prompt."""
    command_timeout_seconds: Annotated[int, Field(ge=1, le=3_600)] = 300
    """Longest time one `run_command` may take."""
    limits: Limits = Field(default_factory=Limits)

    @property
    def provider(self) -> str:
        """The part of `model` before the colon."""
        return self.model.partition(":")[0]

    @property
    def model_name(self) -> str:
        """The part of `model` after the colon; may itself hold colons: `qwen3:8b`."""
        return self.model.partition(":")[2]

    @model_validator(mode="after")
    def _model_fits(self) -> Options:
        if self.model == SCRIPTED:
            if not self.script.strip():
                raise ValueError("model 'scripted' needs 'script': the text of the script, not its path")
            if self.base_url:
                raise ValueError("'base_url' has no meaning for the model 'scripted'; leave it out")
            parse_script(self.script)
            return self
        if self.provider not in PROVIDERS or not self.model_name:
            usual = ", ".join(f"'{name}:<model>'" for name in PROVIDERS)
            raise ValueError(f"model must be 'scripted' or one of {usual}")
        if self.script:
            raise ValueError("'script' belongs to the model 'scripted'; leave it out")
        if self.base_url:
            _check_url(self.base_url)
        return self


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must be an http or https URL: https://models.example.org/v1")
    if parts.username or parts.password:
        raise ValueError("base_url may not hold a user or password; keys come from the environment")


_KNOWN_KEYS = frozenset(Options.model_fields) | frozenset(Limits.model_fields)


def read_options(options: Mapping[str, Any]) -> Options:
    """Typed options. Raises InvalidOptionsError, whose message names the option and the fix."""
    try:
        return Options.model_validate(dict(options))
    except ValidationError as error:
        words = validation.in_words(error, _KNOWN_KEYS)
        raise InvalidOptionsError(f"options of the agent 'builtin': {words}") from error
