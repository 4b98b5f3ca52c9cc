#!/usr/bin/env python
"""Entry of every management command."""

import os
import sys

from django.core.management import execute_from_command_line

from agentgrid.hardening import hide_memory

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentgrid.settings")
    hide_memory()  # `up` lives as long as its workers and has the same keys in its environment
    execute_from_command_line(sys.argv)
