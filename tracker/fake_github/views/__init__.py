"""The API's operations. Importing this package makes the router know them all."""

from tracker.fake_github.views import (
    apps,
    checks,
    comments,
    commits,
    graphql,
    hooks,
    issues,
    marks,
    pulls,
    repositories,
    reviews,
    structure,
)

__all__ = [
    "apps",
    "checks",
    "comments",
    "commits",
    "graphql",
    "hooks",
    "issues",
    "marks",
    "pulls",
    "repositories",
    "reviews",
    "structure",
]
