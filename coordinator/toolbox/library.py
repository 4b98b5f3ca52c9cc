"""Tools about what children may be given: prompts of the library, toolsets and profiles."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from coordinator.care import profiles, prompt_library
from coordinator.care.prompt_library import Template
from coordinator.rules import capability as capabilities
from coordinator.toolbox.context import Call
from grid.public_toolkit import DefinitionError, Library

_PromptName = Annotated[str, Field(min_length=1, max_length=60)]


def list_prompts(call: Call) -> dict[str, Any]:
    """The prompts that your children may run under, by name: shipped ones, operators', and those of your own tree."""
    return {"prompts": [_about(template) for template in prompt_library.visible(call.agent().tree_id)]}


def get_prompt(
    call: Call, name: _PromptName, version: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
) -> dict[str, Any]:
    """A prompt with its template, and where it comes from. Without `version` the current one."""
    template = prompt_library.get(name, tree_id=call.agent().tree_id, version=version)
    return {**_about(template), "body": template.body}


def save_prompt(
    call: Call,
    name: _PromptName,
    body: Annotated[str, Field(min_length=1, max_length=200_000)],
    description: Annotated[str, Field(max_length=300)] = "",
    base_version: Annotated[int, Field(ge=0, le=1_000_000)] | None = None,
) -> dict[str, Any]:
    """Create or revise a prompt for agents of your own tree; name it in `prompt` of a child. Old versions stay.

    The template is Jinja; get_prompt of 'work' shows the variables. `base_version` is the version you revised, 0 for none: if
    somebody has saved another one since, you are told so and nothing is stored.
    """
    saved = prompt_library.save_as_agent(
        agent_id=call.agent_id,
        tree_id=call.agent().tree_id,
        execution_id=call.caller.execution_id,
        name=name,
        body=body,
        description=description,
        base_version=base_version,
    )
    return _about(saved)


def list_toolsets(call: Call) -> dict[str, Any]:
    """Toolsets and profiles that you may name for children, and what you hold yourself: a child never gets more."""
    library = profiles.library_of(call.agent().repository_id)
    return {
        "toolsets": {name: _tools(library, name) for name in library.names("toolset")},
        "profiles": [{"name": name, "about": library.about("profile", name)} for name in library.names("profile")],
        "yours": capabilities.as_json(call.capability),
    }


def _tools(library: Library, name: str) -> list[str] | str:
    try:
        return sorted(library.toolset(name))
    except DefinitionError as error:
        return f"cannot be used: {error}"[:300]


def _about(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "version": template.version,
        "description": template.description,
        "by": template.author,
        "frozen": template.is_frozen,
    }
