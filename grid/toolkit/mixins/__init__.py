"""Mixins: blocks of hooks that a profile names, built from checked options.

Each module has a class of options (`Options`) and a hook; `building` knows them by name. docs/toolkit.md describes them for
people who write profiles, and for those who write another one.
"""

from grid.toolkit.mixins.building import build, build_all, check, mixin_names
from grid.toolkit.mixins.services import Blocker, Locks, NoLocks, Services

__all__ = ["Blocker", "Locks", "NoLocks", "Services", "build", "build_all", "check", "mixin_names"]
