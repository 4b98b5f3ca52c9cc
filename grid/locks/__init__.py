"""Locks on paths of a repository: leases of running executions, with fencing tokens and waiters in line.

`patterns` and `rules` decide, without a database; `turns` and `rows` read and write; `service`, `ending` and `reading` are what others
call. docs/locks.md describes the whole.
"""
