"""The coordinator's tables.

Only `coordinator.lifecycle` writes `Agent.state`. Only `coordinator.money.budgets` writes envelopes, but for `max_live` of fleet and
repositories, which `coordinator.agents.roster` keeps equal to settings and policy.
"""

from coordinator.models.agents import Agent
from coordinator.models.audit import AuditEntry
from coordinator.models.budgets import Envelope, LedgerEntry, SpendEntry
from coordinator.models.calls import GatewayProcess, ModelCall
from coordinator.models.commands import Command
from coordinator.models.conflicts import Conflict
from coordinator.models.definitions import Definition, Prompt
from coordinator.models.feedback import Feedback
from coordinator.models.messages import Message, UpgradeRequest
from coordinator.models.nudges import Nudge
from coordinator.models.plans import AppliedPlan
from coordinator.models.repositories import RepositoryPolicy
from coordinator.models.sweeps import SweepSlot
from coordinator.models.threads import Post, Thread, ThreadMember

__all__ = [
    "Agent",
    "AppliedPlan",
    "AuditEntry",
    "Command",
    "Conflict",
    "Definition",
    "Envelope",
    "Feedback",
    "GatewayProcess",
    "LedgerEntry",
    "Message",
    "ModelCall",
    "Nudge",
    "Post",
    "Prompt",
    "RepositoryPolicy",
    "SpendEntry",
    "SweepSlot",
    "Thread",
    "ThreadMember",
    "UpgradeRequest",
]
