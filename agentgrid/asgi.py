"""The web process's entry: `uvicorn agentgrid.asgi:application`."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from agentgrid import bodies, hardening, logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentgrid.settings")
hardening.hide_memory()
application = bodies.LimitBodies(get_asgi_application())
logs.adopt_uvicorn()
