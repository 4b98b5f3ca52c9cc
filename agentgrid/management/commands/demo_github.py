"""`manage.py demo_github`: the flow on GitHub, played on a GitHub of our own; needs no key and no account."""

from __future__ import annotations

from agentgrid.demo import github
from agentgrid.management.commands import demo


class Command(demo.Command):
    help = "Play the flow on a GitHub of our own: label, sub-issues, pull request, review, rework, merge."
    examples = """examples:
  manage.py demo_github                      in var/demo-github, which it empties first
  manage.py demo_github --folder /tmp/grid   elsewhere
  manage.py demo_github --json               facts at the end as one JSON object
"""
    name = "demo-github"
    play = staticmethod(github.play)
