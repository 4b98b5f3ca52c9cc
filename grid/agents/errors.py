"""Errors of agent adapters.

GridError
    InvalidOptionsError   options of an adapter that cannot work; the message names the option and the fix
    InvalidOutcomeError   an agent's report that breaks the rules of docs/agents.md; the message names the place
"""

from __future__ import annotations

from grid.public_errors import GridError


class InvalidOptionsError(GridError):
    """The adapter cannot work with these options; the message names the option and the fix."""


class InvalidOutcomeError(GridError):
    """The agent's report breaks a rule; the message names the place and the rule."""
