"""Anthropic's Messages API."""

from __future__ import annotations

from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

KEY_VARIABLE = "ANTHROPIC_API_KEY"
_URL = "https://api.anthropic.com"


def needs_key(base_url: str) -> bool:
    """Anthropic and gateways in front of it both want one."""
    return True


def build(*, name: str, base_url: str, key: str) -> Model:
    """The model of this name; the address is always explicit, so no variable of the environment can change it."""
    return AnthropicModel(name, provider=AnthropicProvider(api_key=key, base_url=base_url or _URL))
