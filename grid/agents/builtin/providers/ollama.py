"""Ollama by its OpenAI-compatible endpoint."""

from __future__ import annotations

from pydantic_ai.models import Model
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.providers.ollama import OllamaProvider

KEY_VARIABLE = "OLLAMA_API_KEY"
_URL = "http://127.0.0.1:11434/v1"


def needs_key(base_url: str) -> bool:
    """A server of one's own wants none."""
    return False


def build(*, name: str, base_url: str, key: str) -> Model:
    """The model of this name, on this machine unless told otherwise."""
    return OllamaModel(name, provider=OllamaProvider(api_key=key or "none", base_url=base_url or _URL))
