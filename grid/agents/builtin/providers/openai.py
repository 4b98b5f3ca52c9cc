"""OpenAI's Chat Completions API, which most other servers speak too."""

from __future__ import annotations

from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

KEY_VARIABLE = "OPENAI_API_KEY"
_URL = "https://api.openai.com/v1"


def needs_key(base_url: str) -> bool:
    """Servers of one's own often want none."""
    return not base_url


def build(*, name: str, base_url: str, key: str) -> Model:
    """The model of this name; the address is always explicit, so no variable of the environment can change it."""
    # The client refuses an empty key even where the server asks for none.
    return OpenAIChatModel(name, provider=OpenAIProvider(api_key=key or "none", base_url=base_url or _URL))
