"""The coordinator's tables.

Only `coordinator.lifecycle` writes `Agent.state`. Only `coordinator.budgets` writes envelopes, but for `max_live` of fleet and
repositories, which `coordinator.roster` keeps equal to settings and policy.
"""

from coordinator.models.agents import Agent
from coordinator.models.audit import AuditEntry
from coordinator.models.budgets import Envelope, LedgerEntry
from coordinator.models.commands import Command
from coordinator.models.feedback import Feedback
from coordinator.models.nudges import Nudge
from coordinator.models.repositories import RepositoryPolicy
from coordinator.models.sweeps import SweepSlot

__all__ = [
    "Agent",
    "AuditEntry",
    "Command",
    "Envelope",
    "Feedback",
    "LedgerEntry",
    "Nudge",
    "RepositoryPolicy",
    "SweepSlot",
]
