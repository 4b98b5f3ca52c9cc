"""Repositories for the tracker's tests."""

from __future__ import annotations

import pytest

from tracker import public_api
from tracker.public_types import RepositoryView


@pytest.fixture
def repository(db: None) -> RepositoryView:
    """An empty local repository."""
    return public_api.ensure_repository(
        tracker="local", scope="acme/widgets", source="/srv/widgets", default_branch="main"
    )
