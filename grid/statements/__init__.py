"""Statements of our own: by hand, and such that Django builds once in a process (decision 0030)."""
