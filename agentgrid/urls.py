"""What the web process answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from agentgrid import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("coordinator.web.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("healthz", health.healthz),
]
