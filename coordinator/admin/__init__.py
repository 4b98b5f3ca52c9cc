from coordinator.admin import (
    agents,
    commands,
    deliveries,
    envelopes,
    feedback,
    library,
    messages,
    records,
    spending,
    upgrades,
)

__all__ = [
    "agents",
    "commands",
    "deliveries",
    "envelopes",
    "feedback",
    "library",
    "messages",
    "records",
    "spending",
    "upgrades",
]
