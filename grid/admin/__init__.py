from grid.admin import events, executions, hosts, inbox

__all__ = ["events", "executions", "hosts", "inbox"]
