"""`manage.py demo_team`: two agents want one file, a third one asks for more; needs no key and no account."""

from __future__ import annotations

from agentgrid.demo import team
from agentgrid.management.commands import demo


class Command(demo.Command):
    help = "Play what happens when agents want the same file: lock, conflict, decision, merge; and an upgrade."
    examples = """examples:
  manage.py demo_team                      in var/demo-team, which it empties first
  manage.py demo_team --folder /tmp/grid   elsewhere
  manage.py demo_team --json               facts at the end as one JSON object
"""
    name = "demo-team"
    play = staticmethod(team.play)
