"""The tracker's settings, typed."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerConf:
    """A typed view on the `TRACKER_*` settings: who we are on GitHub. Secrets never appear in its repr."""

    api_url: str
    """Root of the REST API, without a slash at its end."""
    git_url: str
    """Root of the clone URLs: `https://github.com`."""
    app_id: str
    """Of our GitHub App; empty where a personal token is used."""
    app_key: str
    """The App's private key, PEM."""
    token: str
    """Personal token of a machine user; used where there is no App."""
    webhook_secrets: tuple[str, ...]
    """The present one first; an old one stays valid while it is rotated."""
    owners: frozenset[str]
    """Accounts whose repositories may be taken under care by an installation event, in lower case."""
    allowed_bots: frozenset[str]
    """Logins of bots whose acts count as a person's, in lower case."""
    machine_user: str
    """Login that is assigned to issues at work; empty: nobody is."""
    marker_key: bytes
    """Signs the markers in our comments."""
    timeout_seconds: float
    """Of one attempt: connecting and waiting for the answer, together. 10 at most; tests wait less."""
    seconds_between_writes: float
    """GitHub asks for a second between writes; 0 against a double."""

    def __repr__(self) -> str:
        return f"TrackerConf(api_url={self.api_url!r}, app_id={self.app_id!r})"


def conf() -> TrackerConf:
    """Read the settings; cheap enough to call where needed, so that tests can override them."""
    return TrackerConf(
        api_url=settings.TRACKER_GITHUB_API_URL.rstrip("/"),
        git_url=settings.TRACKER_GITHUB_GIT_URL.rstrip("/"),
        app_id=settings.TRACKER_GITHUB_APP_ID,
        app_key=settings.TRACKER_GITHUB_APP_KEY,
        token=settings.TRACKER_GITHUB_TOKEN,
        webhook_secrets=tuple(secret for secret in settings.TRACKER_GITHUB_WEBHOOK_SECRETS if secret),
        owners=frozenset(owner.lower() for owner in settings.TRACKER_GITHUB_OWNERS),
        allowed_bots=frozenset(login.lower() for login in settings.TRACKER_GITHUB_ALLOWED_BOTS),
        machine_user=settings.TRACKER_GITHUB_MACHINE_USER,
        marker_key=settings.SECRET_KEY.encode(),
        timeout_seconds=settings.TRACKER_GITHUB_TIMEOUT_SECONDS,
        seconds_between_writes=settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES,
    )
