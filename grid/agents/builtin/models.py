"""From options to a model. A provider's client takes up to 2 s to import, so only those in use are loaded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError, ModelRequestTimeout
from pydantic_ai.models import Model

from grid.agents.builtin.options import PROVIDERS, SCRIPTED, Options, provider_of
from grid.agents.builtin.scripted import scripted_model

_GATEWAY = "let the gateway serve '{}' (GATEWAY_PROVIDERS)"


class ModelUnavailableError(Exception):
    """The model cannot be used as configured; the message names the fix."""


def build_model(options: Options, *, script: str, prompt: str, env: Mapping[str, str]) -> Model:
    """The model named by the options, with its fallbacks. The prompt chooses the script's scenario; keys are looked up in `env`.

    Raises:
        ModelUnavailableError: A key is missing.
        ScriptFailedError: No scenario of the script matches the prompt.
    """
    if options.model == SCRIPTED:
        return scripted_model(script, prompt)
    models = [_provided(model, options, env) for model in (options.model, *options.fallback_models)]
    if len(models) == 1:
        return models[0]
    fallback = importlib.import_module("pydantic_ai.models.fallback")
    chain: Model = fallback.FallbackModel(models[0], *models[1:], fallback_on=may_pass)
    return chain


def may_pass(error: Exception) -> bool:
    """Whether another model may do what this one could not: overloaded, broken, too slow, out of reach.

    A refusal (4xx: wrong key, model not allowed, budget spent, too many requests) stands for all of them: the next model
    would spend what the first was refused.
    """
    if isinstance(error, ModelHTTPError):
        return error.status_code >= 500
    return isinstance(error, ModelConnectionError | ModelRequestTimeout)


def in_words(failure: Exception, options: Options) -> str:
    """What failed, and the fix where a provider was not reached; of several models, what each said."""
    if isinstance(failure, ExceptionGroup):
        return "; ".join(in_words(each, options) for each in failure.exceptions)
    words = f"{type(failure).__name__}: {failure}"
    if not isinstance(failure, ModelConnectionError):
        return words
    named = [model.partition(":") for model in (options.model, *options.fallback_models)]
    own = provider_of(options.model) if options.base_url else ""
    missed = [name for name, _, rest in named if rest == failure.model_name and name not in (*options.gateway, own)]
    if not missed:
        return words
    return (
        f"{words.rstrip('.')}: nothing answers the agent there. {_GATEWAY.format(missed[0])}, "
        "or let agents reach its address (AGENTGRID_EGRESS_ALLOW)"
    )


def _provided(model: str, options: Options, env: Mapping[str, str]) -> Model:
    name, _, model_name = model.partition(":")
    if name not in PROVIDERS:
        raise ModelUnavailableError(f"unknown provider '{name}'; use one of {', '.join(PROVIDERS)}")
    own = options.base_url if name == provider_of(options.model) else ""
    base_url = own or options.gateway.get(name, "")
    provider = importlib.import_module(f"grid.agents.builtin.providers.{name}")
    key = env.get(provider.KEY_VARIABLE, "")
    if not key and provider.needs_key(base_url):
        raise ModelUnavailableError(
            f"{provider.KEY_VARIABLE} is not set for the agent: set it for the worker of the queue 'executions' "
            f"and name it in AGENTGRID_AGENT_ENV_ALLOW, or {_GATEWAY.format(name)}"
        )
    built: Model = provider.build(name=model_name, base_url=base_url, key=key)
    return built
