"""What people do to agents: submit, start, hold, pause, cancel, retry, apply a plan."""
