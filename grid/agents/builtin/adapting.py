"""Tools of the toolkit as pydantic-ai sees them: every call goes through `calling.call` with the hooks of the run."""

from __future__ import annotations

from typing import Any

import pydantic_ai
from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed
from pydantic_core import SchemaValidator, core_schema

from grid.agents.builtin.session import Session
from grid.toolkit import calling
from grid.toolkit.errors import ToolRefusedError
from grid.toolkit.tools import Tool

_RETRIES = 5
"""Calls in a row whose arguments are no JSON object, per tool, before the run ends."""
_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema()))


def adapted(tool: Tool) -> pydantic_ai.Tool[Session]:
    """A tool for the loop.

    What changes something runs alone within a batch; reading and commands run side by side. Arguments are checked by the
    tool itself, so that its complaints and the hooks' view are the same wherever it is called.
    """

    async def function(ctx: RunContext[Session], /, **arguments: Any) -> Any:
        session = ctx.deps
        try:
            return await calling.call(
                tool, arguments, context=session, hooks=session.hooks, call_id=ctx.tool_call_id or ""
            )
        except ToolRefusedError as refused:
            raise ToolFailed(str(refused)) from refused

    alone = not tool.is_repeatable and "execute" not in tool.effects
    made: pydantic_ai.Tool[Session] = pydantic_ai.Tool.from_schema(
        function, tool.name, tool.description, tool.schema, takes_ctx=True, sequential=alone
    )
    made.function_schema.validator = _OBJECT
    made.max_retries = _RETRIES
    return made
