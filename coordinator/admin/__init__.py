from coordinator.admin import agents, envelopes, records

__all__ = ["agents", "envelopes", "records"]
