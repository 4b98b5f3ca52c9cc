from grid.admin import events, executions, hosts, inbox, locks

__all__ = ["events", "executions", "hosts", "inbox", "locks"]
