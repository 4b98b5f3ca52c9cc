from grid.admin import events, executions, hosts

__all__ = ["events", "executions", "hosts"]
