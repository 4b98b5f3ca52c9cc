"""From options to a model. A provider's client takes up to 2 s to import, so only the one in use is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from pydantic_ai.models import Model

from grid.agents.builtin.options import PROVIDERS, SCRIPTED, Options
from grid.agents.builtin.scripted import scripted_model


class ModelUnavailableError(Exception):
    """The model cannot be used as configured; the message names the fix."""


def build_model(options: Options, *, script: str, prompt: str, env: Mapping[str, str]) -> Model:
    """The model named by the options. The prompt chooses the script's scenario; keys are looked up in `env`.

    Raises:
        ModelUnavailableError: A key is missing.
        ScriptFailedError: No scenario of the script matches the prompt.
    """
    if options.model == SCRIPTED:
        return scripted_model(script, prompt)
    if options.provider not in PROVIDERS:
        raise ModelUnavailableError(f"unknown provider '{options.provider}'; use one of {', '.join(PROVIDERS)}")
    provider = importlib.import_module(f"grid.agents.builtin.providers.{options.provider}")
    key = env.get(provider.KEY_VARIABLE, "")
    if not key and provider.needs_key(options.base_url):
        raise ModelUnavailableError(
            f"{provider.KEY_VARIABLE} is not set for the agent: set it for the worker of the queue 'executions' "
            f"and name it in AGENTGRID_AGENT_ENV_ALLOW"
        )
    model: Model = provider.build(name=options.model_name, base_url=options.base_url, key=key)
    return model
