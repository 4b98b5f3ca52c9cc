"""Paths of the coordinator's own pages and endpoints."""

from __future__ import annotations

from django.urls import re_path

from coordinator.web.webhooks import GithubWebhookView

urlpatterns = [
    # With or without the slash: GitHub follows no redirect.
    re_path(r"^webhooks/github/?$", GithubWebhookView.as_view(), name="webhooks-github"),
]
