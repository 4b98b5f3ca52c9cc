"""What can go wrong with tools, toolsets and profiles.

ToolkitError
  ToolDefinitionError     a bug of ours
  ToolRefusedError        said to the model; the run goes on
    ToolUnavailableError  what the tool needs cannot be reached now; the same call may work later
  DefinitionError         a profile, toolset or mixin that somebody wrote is wrong; the message names the place and the fix
"""

from __future__ import annotations


class ToolkitError(Exception):
    """Base of this package's errors."""


class ToolDefinitionError(ToolkitError):
    """A tool is declared in a way that no model could use."""


class ToolRefusedError(ToolkitError):
    """The call was not carried out; the message is for the model and says what would be right."""


class ToolUnavailableError(ToolRefusedError):
    """What the tool needs cannot be reached now; the same call may work later."""


class DefinitionError(ToolkitError):
    """A profile, toolset or mixin is wrong: unknown parent, cycle, unknown tool, unknown key."""
