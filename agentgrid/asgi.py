"""The web process's entry: `uvicorn agentgrid.asgi:application`."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from agentgrid import bodies, hardening, logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentgrid.settings")
hardening.hide_memory()
_django = get_asgi_application()

from coordinator import public_api, public_asgi  # noqa: E402 - their models need the set-up Django of the line above

public_api.check_limits()

# Agents' paths have limits of their own: a model call may carry pictures.
application = public_asgi.mount(bodies.LimitBodies(_django))
logs.adopt_uvicorn()
