"""From the entries of a profile to hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from grid.toolkit.calling import Hook
from grid.toolkit.errors import DefinitionError
from grid.toolkit.mixins import budget, concurrency, denylist, file_lock, retry, trace
from grid.toolkit.mixins.services import Services
from grid.toolkit.names import hint
from grid.toolkit.sources import Strict

_KINDS: Mapping[str, tuple[type[Strict], Callable[[Any, Services], Hook]]] = {
    "trace": (trace.Options, trace.Trace),
    "retry": (retry.Options, retry.Retry),
    "concurrency": (concurrency.Options, concurrency.Concurrency),
    "denylist": (denylist.Options, denylist.Denylist),
    "file_lock": (file_lock.Options, file_lock.FileLock),
    "budget": (budget.Options, budget.Budget),
}


def mixin_names() -> tuple[str, ...]:
    """Names of all mixins, sorted."""
    return tuple(sorted(_KINDS))


def check(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a mixin as they were given, once they are known to be right. Raises DefinitionError."""
    _options(name, options)
    return dict(options)


def build(name: str, options: Mapping[str, Any] | None = None, services: Services | None = None) -> Hook:
    """A fresh hook for one run.

    Raises:
        DefinitionError: Unknown mixin or option, or a wrong value; the message names it and the fix.
    """
    checked = _options(name, options or {})
    return _KINDS[name][1](checked, services or Services())


def build_all(
    entries: Iterable[str | Mapping[str, Mapping[str, Any] | None]], services: Services | None = None
) -> list[Hook]:
    """Fresh hooks for one run, from the `mixins` of a frozen profile; the first is outermost. Raises DefinitionError."""
    shared = services or Services()
    hooks = []
    for entry in entries:
        named: Mapping[str, Mapping[str, Any] | None] = {entry: None} if isinstance(entry, str) else entry
        hooks += [build(name, options, shared) for name, options in named.items()]
    return hooks


def _options(name: str, options: Mapping[str, Any]) -> Strict:
    if name not in _KINDS:
        raise DefinitionError(f"unknown mixin '{name[:60]}'; {hint(name, _KINDS)}")
    model = _KINDS[name][0]
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        words = []
        for item in error.errors(include_url=False, include_input=False)[:5]:
            place = ".".join(str(part)[:60] for part in item["loc"])
            if item["type"] == "extra_forbidden":
                words.append(f"unknown option '{place}'; {hint(place, model.model_fields)}")
            else:
                words.append(f"{place}: {item['msg']}" if place else item["msg"].removeprefix("Value error, "))
        raise DefinitionError(f"mixin '{name}': {'; '.join(words)}") from error
