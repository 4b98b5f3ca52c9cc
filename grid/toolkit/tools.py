"""Tools as reusable values: a name, a description, a schema made from a function's types, and the function.

The built-in agent's own tools and the grid's tools are both made of these, and every call of either goes through
`calling.call`, so that hooks see all of them.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from grid.toolkit.errors import ToolDefinitionError, ToolRefusedError

type ToolFunction = Callable[..., Any] | Callable[..., Awaitable[Any]]
"""Called as `function(context, **arguments)`, sync or async; what it returns is plain JSON or text."""

_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool."""

    name: str
    """`[a-z][a-z0-9_]{0,39}`, the same for every agent."""
    description: str
    """For the model: what it does and when to use it."""
    arguments: type[BaseModel]
    """Strict model of the arguments; its JSON schema is what models are shown."""
    function: ToolFunction
    effects: frozenset[str] = field(default_factory=frozenset)
    """Of `read`, `write`, `execute`, `report`, `grid`: what mixins such as the file lock go by."""
    path_arguments: tuple[str, ...] = ()
    """Arguments that name files of the workspace."""

    @property
    def is_repeatable(self) -> bool:
        """Whether a second call cannot do harm, by the effects stated; of the grid's tools only those that read."""
        if self.effects & {"write", "execute", "report"}:
            return False
        return "grid" not in self.effects or "read" in self.effects

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments, an object."""
        return self.arguments.model_json_schema()

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check a model's arguments; nothing is converted, unknown ones are refused.

        Raises:
            ToolRefusedError: Names each argument that is wrong; never repeats a value.
        """
        try:
            value = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolRefusedError(f"{self.name}: {_in_words(error)}") from error
        return {**{name: getattr(value, name) for name in type(value).model_fields}, **(value.model_extra or {})}


def tool(
    function: ToolFunction,
    *,
    name: str = "",
    description: str = "",
    effects: typing.Iterable[str] = (),
    path_arguments: tuple[str, ...] = (),
) -> Tool:
    """Make a tool of a function: `def read_file(context, path: str, lines: int = 100) -> str`.

    The first parameter is the caller's context; the others become the arguments, with `Annotated[…, Field(…)]` respected.

    Raises:
        ToolDefinitionError: A parameter has no type, or there is no description: a bug of the caller.
    """
    label = name or function.__name__
    text = inspect.cleandoc(description or function.__doc__ or "")
    if not text:
        raise ToolDefinitionError(f"the tool {label} needs a docstring: models read it")
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.name not in hints:
            raise ToolDefinitionError(f"the tool {label}: its argument {parameter.name} has no type")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    config = ConfigDict(extra="forbid", strict=True)
    arguments: type[BaseModel] = create_model(f"{label}_arguments", __config__=config, **fields)
    return Tool(
        name=label,
        description=text,
        arguments=arguments,
        function=function,
        effects=frozenset(effects),
        path_arguments=path_arguments,
    )


def foreign_tool(
    function: ToolFunction,
    *,
    name: str,
    description: str,
    schema: Mapping[str, Any],
    effects: typing.Iterable[str] = (),
) -> Tool:
    """Make a tool of somebody else's: the schema is shown as it is, and whoever answers checks the arguments.

    Args:
        function: Called as `function(context, **arguments)`; let its context be positional only.
        schema: JSON schema of the arguments, an object.
        effects: As far as they are known.
    """

    def show(shown: dict[str, Any]) -> None:
        shown.clear()
        shown.update(schema)

    config = ConfigDict(extra="allow", json_schema_extra=show, protected_namespaces=())
    arguments: type[BaseModel] = create_model("foreign_arguments", __config__=config)
    return Tool(name=name, description=description, arguments=arguments, function=function, effects=frozenset(effects))


def _in_words(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(str(part)[:80] for part in item['loc'])}: {item['msg']}" for item in found[:_MAX_SHOWN]]
    if len(found) > _MAX_SHOWN:
        lines.append(f"and {len(found) - _MAX_SHOWN} more")
    return "; ".join(lines)
