"""Paths of the coordinator's own pages and endpoints."""

from __future__ import annotations

from django.urls import path, re_path

from coordinator.web.agent_api import ToolsView, ToolView
from coordinator.web.webhooks import GithubWebhookView

urlpatterns = [
    # With or without the slash: GitHub follows no redirect.
    re_path(r"^webhooks/github/?$", GithubWebhookView.as_view(), name="webhooks-github"),
    path("api/agent/v1/tools", ToolsView.as_view(), name="agent-tools"),
    path("api/agent/v1/tools/<slug:name>", ToolView.as_view(), name="agent-tool"),
]
