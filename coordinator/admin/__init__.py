from coordinator.admin import agents, commands, deliveries, envelopes, feedback, records

__all__ = ["agents", "commands", "deliveries", "envelopes", "feedback", "records"]
