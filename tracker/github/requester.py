"""PyGithub's transport, watched: every request is admitted by the quota, ends in time and leaves its traces."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import github
import urllib3
from django.utils import timezone
from github.GithubObject import is_undefined
from github.Requester import Requester
from urllib3.exceptions import MaxRetryError, ResponseError

from tracker.conf import conf
from tracker.github import errors, quota
from tracker.public_errors import RateLimitedError, TrackerError, UnavailableError

API_VERSION = "2022-11-28"
START_WITHIN_SECONDS = 19
"""No request and no retry starts later in a block, so that with its timeout the block ends within 30 seconds."""
LONGEST_WRITE_WAIT_SECONDS = 1.9
_RETRIED = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})
"""Never POST: a lost answer would create a second issue or comment."""
_READS = frozenset({"GET", "HEAD"})

_PAUSED_MAX_SECONDS = 5
"""A block that took too long, and waited longer than this for the quota, is told to come back instead."""


class Meter:
    """What happens within one block of calls: its time, the account's quota, and whether anything was written.

    An account of "" has no quota: calls by our App's own signature.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._ends = 0.0
        self._paused_seconds = 0.0
        self._headroom: quota.Headroom | None = None
        self._heard: quota.Headroom | None = None
        self.is_open = False
        self.may_write = False
        self.maybe_applied = False
        """A write of this block was carried out, or may have been."""

    def open(self) -> None:
        """Begin a block; the quota's row is read once."""
        self._ends = time.monotonic() + START_WITHIN_SECONDS
        self._paused_seconds = 0.0
        self._heard = None
        self._headroom = quota.headroom(self._account, now=timezone.now()) if self._account else None
        self.may_write = self.maybe_applied = False
        self.is_open = True

    def close(self) -> None:
        """End the block; what the last answer said goes to the quota's row."""
        self.is_open = False
        if self._heard:
            quota.write_down(self._account, self._heard, now=timezone.now())

    @property
    def is_late(self) -> bool:
        """Nothing may be started any more."""
        return time.monotonic() >= self._ends

    def admit(self, *, is_write: bool) -> None:
        """Wait a little or refuse, as the quota asks.

        Raises:
            RateLimitedError: Nothing may be sent now.
            UnavailableError: The block has taken too long already.
            RuntimeError: Called outside `Session.calling()`, or a write within one that only reads.
        """
        if not self.is_open:
            raise RuntimeError("GitHub is called inside `with session.calling():` only.")
        if is_write and not self.may_write:
            raise RuntimeError("This block only reads; a write needs `with session.calling(write=True):`.")
        if self.is_late:
            self._refuse_late()
        if self._headroom is None:
            return
        pause = quota.pause_seconds(self._headroom, now=timezone.now())
        if is_write:
            self._reserve_write()
        elif pause:
            self._sleep(pause)

    def _refuse_late(self) -> None:
        if self._paused_seconds > _PAUSED_MAX_SECONDS:
            retry_at = timezone.now() + timedelta(seconds=_PAUSED_MAX_SECONDS)
            raise RateLimitedError("GitHub's quota is low, so this takes several goes.", retry_at=retry_at)
        message = f"GitHub is slow: the calls took longer than {START_WITHIN_SECONDS} seconds. Try again later."
        raise UnavailableError(message, maybe_applied=self.maybe_applied)

    def _sleep(self, seconds: float) -> None:
        self._paused_seconds += seconds
        time.sleep(seconds)

    def _reserve_write(self) -> None:
        now = timezone.now()
        # Once something was written the rest follows, a little later: half-done work would be told as "nothing done".
        patience = START_WITHIN_SECONDS if self.maybe_applied else LONGEST_WRITE_WAIT_SECONDS
        starts_at = quota.reserve_write(
            self._account, now=now, gap_seconds=conf().seconds_between_writes, longest_wait_seconds=patience
        )
        self._sleep(max(0.0, (starts_at - now).total_seconds()))

    def note(self, status: int, headers: dict[str, str], text: str) -> None:
        """Remember what an answer said of the quota."""
        if not self._account:
            return
        now = timezone.now()
        heard = quota.said(headers, now=now) or self._heard
        if status >= 400 and errors.is_limit(status, headers, {"message": text[:2_000]}):
            known = heard or self._headroom or quota.Headroom(limit=5_000, remaining=5_000, reset_at=None)
            heard = quota.blocked(known, until=errors.limit_ends(headers, now=now))
        if heard:
            self._heard = self._headroom = heard


class BoundedRetry(urllib3.Retry):
    """Retries that stop when the block's time is over."""

    meter: Meter | None = None

    def new(self, **kw: Any) -> Self:
        """The next state of these retries."""
        made = super().new(**kw)
        made.meter = self.meter
        return made

    def increment(self, *args: Any, **kw: Any) -> Self:
        """Count a failed attempt.

        Raises:
            MaxRetryError: No further attempt is made.
        """
        made = super().increment(*args, **kw)
        if self.meter is None or self.meter.is_late:
            reason = kw.get("error") or ResponseError("too late for another attempt")
            raise MaxRetryError(kw["_pool"], str(args[1] if len(args) > 1 else kw.get("url")), reason)
        return made


class MeteredRequester(Requester):
    """PyGithub's requester with a meter; copies of it keep the meter."""

    def __init__(self, *, meter: Meter, renew: Callable[[], bool] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._meter = meter
        self._renew = renew

    def requestJson(self, verb: str, url: str, *args: Any, **kwargs: Any) -> tuple[int, dict[str, Any], str]:  # noqa: N802 - PyGithub's name
        """Send one request; every REST and GraphQL call of PyGithub comes through here."""
        status, headers, text = self._sent(verb, url, *args, **kwargs)
        # 401: refused before anything was done, so even a POST may go out once more with a new token.
        if status == 401 and self._renew is not None and self._renew():
            status, headers, text = self._sent(verb, url, *args, **kwargs)
        return status, headers, text

    def withLazy(self, lazy: Any) -> Requester:  # noqa: N802 - PyGithub's name
        """The same requester for lazy or eager objects."""
        return self if is_undefined(lazy) or self.is_lazy == lazy else self._copy(lazy=lazy)

    def withApiVersion(self, api_version: str | None) -> Requester:  # noqa: N802 - PyGithub's name
        """The same requester for another version of the API."""
        return self if api_version == self.api_version else self._copy(api_version=api_version)

    def withAuth(self, auth: github.Auth.Auth | None) -> Requester:  # noqa: N802 - PyGithub's name
        """The same requester with other credentials."""
        return self._copy(auth=auth)

    def _copy(self, **changes: Any) -> MeteredRequester:
        return MeteredRequester(meter=self._meter, renew=self._renew, **{**self.kwargs, **changes})

    def _sent(self, verb: str, url: str, *args: Any, **kwargs: Any) -> tuple[int, dict[str, Any], str]:
        meter = self._meter
        is_query = url.endswith("/graphql") and not meter.may_write  # GraphQL reads by POST, too
        is_write = verb not in _READS and not is_query
        meter.admit(is_write=is_write)
        before = meter.maybe_applied
        meter.maybe_applied = before or is_write
        try:
            status, headers, text = super().requestJson(verb, url, *args, **kwargs)
        except TrackerError:  # no token could be minted
            meter.maybe_applied = before
            raise
        except (AssertionError, RuntimeError) as error:
            # PyGithub's words for a redirection to another host or scheme.
            raise errors.misfit(type(error).__name__, maybe_applied=meter.maybe_applied) from error
        except Exception as error:
            # A retried PUT may have been carried out before the connection that failed.
            if verb == "POST" and errors.nothing_was_sent(error):
                meter.maybe_applied = before
            raise
        meter.note(status, headers, text)
        if 400 <= status < 500:
            meter.maybe_applied = before
        if status < 400 and "html" in headers.get("content-type", ""):
            raise errors.misfit("a page of HTML", maybe_applied=meter.maybe_applied)
        return status, headers, text


class Client(github.Github):
    """PyGithub's client over our requester: lazy objects, pages of 100, no sleeps of its own."""

    def __init__(self, *, auth: github.Auth.Auth, meter: Meter, renew: Callable[[], bool] | None = None) -> None:
        api_url = conf().api_url
        retry = BoundedRetry(
            total=3,
            allowed_methods=_RETRIED,
            status_forcelist=(500, 502, 503, 504),
            backoff_factor=0.2,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        retry.meter = meter
        super().__init__(auth=auth, base_url=api_url, retry=None)
        self._Github__requester = MeteredRequester(
            meter=meter,
            renew=renew,
            auth=auth,
            base_url=api_url,
            timeout=urllib3.Timeout(total=conf().timeout_seconds),  # requests takes urllib3's own value as well
            user_agent="agent-grid",
            per_page=100,
            verify=True,
            retry=retry,
            pool_size=None,
            lazy=True,
            api_version=API_VERSION,
        )


# PyGithub writes whole answers at level DEBUG; one of them is a token.
_quiet = logging.getLogger("tracker.github.http")
_quiet.setLevel(logging.INFO)
MeteredRequester.injectLogger(_quiet)
