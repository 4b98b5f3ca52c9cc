"""The coordinator's tables.

Only `coordinator.lifecycle` writes `Agent.state`. Only `coordinator.budgets` writes envelopes, but for `max_live` of fleet and
repositories, which `coordinator.roster` keeps equal to settings and policy.
"""

from coordinator.models.agents import Agent
from coordinator.models.audit import AuditEntry
from coordinator.models.budgets import Envelope, LedgerEntry, SpendEntry
from coordinator.models.calls import ModelCall
from coordinator.models.commands import Command
from coordinator.models.definitions import Definition, Prompt
from coordinator.models.feedback import Feedback
from coordinator.models.messages import Message, UpgradeRequest
from coordinator.models.nudges import Nudge
from coordinator.models.repositories import RepositoryPolicy
from coordinator.models.sweeps import SweepSlot

__all__ = [
    "Agent",
    "AuditEntry",
    "Command",
    "Definition",
    "Envelope",
    "Feedback",
    "LedgerEntry",
    "Message",
    "ModelCall",
    "Nudge",
    "Prompt",
    "RepositoryPolicy",
    "SpendEntry",
    "SweepSlot",
    "UpgradeRequest",
]
