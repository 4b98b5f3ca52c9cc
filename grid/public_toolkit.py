"""What other packages may use of the toolkit: tools, hooks and mixins, and profiles made from shipped and given files."""

from __future__ import annotations

from grid.toolkit.calling import Answer, Hook, Proceed, ToolCall, call
from grid.toolkit.errors import (
    DefinitionError,
    ToolDefinitionError,
    ToolkitError,
    ToolRefusedError,
    ToolUnavailableError,
)
from grid.toolkit.library import Library, library
from grid.toolkit.mixins import Blocker, Locks, NoLocks, Services, build, build_all, mixin_names
from grid.toolkit.names import GRID_TOOLS, KNOWN_TOOLS, LOCAL_TOOLS, hint
from grid.toolkit.names import split as tools_split
from grid.toolkit.profile_file import BUDGETS as PROFILE_BUDGETS
from grid.toolkit.profile_file import LIMITS as PROFILE_LIMITS
from grid.toolkit.profiles import FrozenProfile
from grid.toolkit.sources import Source
from grid.toolkit.strict_yaml import Document, Path, Problem, UnreadableError, nearest_line, shortened
from grid.toolkit.strict_yaml import read as read_yaml
from grid.toolkit.tiers import LIMITS as TIER_LIMITS
from grid.toolkit.tiers import Tier, Tiers
from grid.toolkit.tiers import fits as model_fits
from grid.toolkit.tools import Tool, foreign_tool, tool

__all__ = [
    "GRID_TOOLS",
    "KNOWN_TOOLS",
    "LOCAL_TOOLS",
    "PROFILE_BUDGETS",
    "PROFILE_LIMITS",
    "TIER_LIMITS",
    "Answer",
    "Blocker",
    "DefinitionError",
    "Document",
    "FrozenProfile",
    "Hook",
    "Library",
    "Locks",
    "NoLocks",
    "Path",
    "Problem",
    "Proceed",
    "Services",
    "Source",
    "Tier",
    "Tiers",
    "Tool",
    "ToolCall",
    "ToolDefinitionError",
    "ToolRefusedError",
    "ToolUnavailableError",
    "ToolkitError",
    "UnreadableError",
    "build",
    "build_all",
    "call",
    "foreign_tool",
    "hint",
    "library",
    "mixin_names",
    "model_fits",
    "nearest_line",
    "read_yaml",
    "shortened",
    "tool",
    "tools_split",
]
