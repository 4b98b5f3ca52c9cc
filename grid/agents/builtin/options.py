"""Options of the built-in agent, checked when work is submitted and again where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from grid.agents import validation
from grid.agents.builtin.script import parse_script
from grid.agents.errors import InvalidOptionsError
from grid.toolkit import mixins
from grid.toolkit.errors import DefinitionError
from grid.toolkit.names import LOCAL_TOOLS, hint

SCRIPTED = "scripted"
KEY_VARIABLES: Mapping[str, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "ollama": "OLLAMA_API_KEY",
}
"""By provider: the variable that holds its real key, or the token for the gateway: for the model's client only."""
PROVIDERS = tuple(KEY_VARIABLES)
_ModelName = Annotated[str, StringConstraints(max_length=200)]
_Url = Annotated[str, StringConstraints(max_length=2_000)]
_ToolName = Annotated[str, StringConstraints(max_length=60)]


class Limits(BaseModel):
    """When the loop ends by itself. None means no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    requests: Annotated[int, Field(ge=1, le=1_000)] = 50
    tool_calls: Annotated[int, Field(ge=0, le=10_000)] = 200
    input_tokens: Annotated[int, Field(ge=1)] | None = None
    output_tokens: Annotated[int, Field(ge=1)] | None = None
    total_tokens: Annotated[int, Field(ge=1)] | None = None
    context_tokens: Annotated[int, Field(ge=1_000)] | None = None
    """The history is cut down when its estimated size passes this; it ends nothing."""


class Options(BaseModel):
    """What the built-in agent can be told."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: _ModelName
    """`scripted`, or `<provider>:<name of the model>`."""
    fallback_models: list[_ModelName] = Field(default_factory=list, max_length=5)
    """Asked in this order when the one before is overloaded, broken or out of reach."""
    script: Annotated[str, StringConstraints(max_length=256 * 1024)] = ""
    """Text of the script, for the scripted model."""
    base_url: _Url = ""
    """Where the provider of `model` listens, when not at its usual address."""
    gateway: dict[str, _Url] = Field(default_factory=dict)
    """Where the gateway stands in for a provider; set by the grid."""
    instructions: Annotated[str, StringConstraints(max_length=65_536)] = ""
    """Added to the agent's own system prompt."""
    tools: list[_ToolName] | None = None
    """Local tools; all when left out. `finish` is always among them."""
    grid_url: _Url = ""
    """Where the grid's own tools are; set by the grid. The token is in AGENTGRID_TOKEN."""
    grid_tools: list[_ToolName] = Field(default_factory=list, max_length=100)
    mixins: list[str | dict[str, dict[str, JsonValue] | None]] = Field(default_factory=list, max_length=20)
    """Hooks around tool calls, the first outermost; see docs/toolkit.md."""
    command_timeout_seconds: Annotated[int, Field(ge=1, le=3_600)] = 300
    """Longest time one `run_command` may take."""
    limits: Limits = Field(default_factory=Limits)

    @property
    def provider(self) -> str:
        """The part of `model` before the colon."""
        return provider_of(self.model)

    @model_validator(mode="after")
    def _model_fits(self) -> Options:
        if self.model == SCRIPTED:
            if not self.script.strip():
                raise ValueError("model 'scripted' needs 'script': the text of the script, not its path")
            if self.base_url:
                raise ValueError("'base_url' has no meaning for the model 'scripted'; leave it out")
            if self.fallback_models:
                raise ValueError("'fallback_models' has no meaning for the model 'scripted'; leave it out")
            parse_script(self.script)
            return self
        for model in (self.model, *self.fallback_models):
            _check_model(model)
        if self.script:
            raise ValueError("'script' belongs to the model 'scripted'; leave it out")
        for url in filter(None, (self.base_url, *self.gateway.values())):
            _check_url("base_url", url)
        return self

    @model_validator(mode="after")
    def _tools_exist(self) -> Options:
        for name in self.tools or ():
            if name not in LOCAL_TOOLS:
                raise ValueError(f"tools: unknown tool '{name}'; {hint(name, LOCAL_TOOLS)}")
        if self.grid_url:
            _check_url("grid_url", self.grid_url)
        try:
            mixins.build_all(self.mixins)
        except DefinitionError as error:
            raise ValueError(f"mixins: {error}") from error
        return self


def provider_of(model: str) -> str:
    """The part before the colon; what comes after it may itself hold colons: `ollama:qwen3:8b`."""
    return model.partition(":")[0]


def _check_model(model: str) -> None:
    provider, _, name = model.partition(":")
    if provider not in PROVIDERS or not name:
        usual = ", ".join(f"'{known}:<model>'" for known in PROVIDERS)
        raise ValueError(f"model must be 'scripted' or one of {usual}")


def _check_url(what: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{what} must be an http or https URL: https://models.example.org/v1")
    if parts.username or parts.password:
        raise ValueError(f"{what} may not hold a user or password; keys come from the environment")


_KNOWN_KEYS = frozenset(Options.model_fields) | frozenset(Limits.model_fields)


def read_options(options: Mapping[str, Any]) -> Options:
    """Typed options. Raises InvalidOptionsError, whose message names the option and the fix."""
    try:
        return Options.model_validate(dict(options))
    except ValidationError as error:
        words = validation.in_words(error, _KNOWN_KEYS)
        raise InvalidOptionsError(f"options of the agent 'builtin': {words}") from error
