"""Django admin of the tracker: for looking. People change issues in their tracker, the grid through the outbox."""

from tracker.admin import github, issues, repositories

__all__ = ["github", "issues", "repositories"]
