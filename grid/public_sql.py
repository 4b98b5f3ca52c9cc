"""Statements by hand, and such that Django builds once in a process, for packages above (decisions 0028 and 0030)."""

from grid.statements.plain import ALIAS, Statement, places, run, run_all, time, uuid
from grid.statements.prepared import Prepared, given, given_all
from grid.statements.writing import PreparedUpdate, insert

__all__ = (
    "ALIAS",
    "Prepared",
    "PreparedUpdate",
    "Statement",
    "given",
    "given_all",
    "insert",
    "places",
    "run",
    "run_all",
    "time",
    "uuid",
)
