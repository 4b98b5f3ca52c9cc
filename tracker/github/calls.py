"""Blocks of calls to GitHub: the only place where its errors become ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import github
from django.db import transaction
from django.utils import timezone
from github.Requester import Requester

from tracker.conf import conf
from tracker.github import errors
from tracker.github.requester import Client, Meter


class Calls:
    """A client of one task and the blocks in which it may be called; close it, or use it as a context manager."""

    def __init__(self, *, auth: github.Auth.Auth, account: str = "", renew: Callable[[], bool] | None = None) -> None:
        """Nothing is sent yet.

        Args:
            account: Whose quota is spent; "" for calls that spend none.
            renew: Gets new credentials after a 401; False when there are none.
        """
        self._meter = Meter(account)
        self.account = account
        """`installation:12` or `token:LOGIN`."""
        self.github = Client(auth=auth, meter=self._meter, renew=renew)
        """Makes lazy objects: an object is fetched when something of it is read that is not known yet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.github.close()

    @contextmanager
    def calling(self, *, write: bool = False) -> Iterator[None]:
        """A block in which GitHub may be called; it ends within 30 seconds.

        Long lists want a block for each page. Inner blocks share the time of the outermost one, and an error can be
        caught around each of them.

        Args:
            write: Requests other than GET may be sent (GraphQL queries always may).

        Raises:
            RateLimitedError: GitHub's quota or a limit of ours says wait; checked before anything is sent.
            UnavailableError: No answer, or GitHub's own fault. `maybe_applied` when a write of the outermost block was
                carried out, or may have been.
            ForbiddenError, NotFoundError, InvalidError, ConflictError: GitHub's refusals.
            RuntimeError: Inside a database transaction, which would be held open during calls over the network.
        """
        meter = self._meter
        is_outermost = not meter.is_open
        if is_outermost:
            # Durable: refuses to run inside a transaction.
            with transaction.atomic(durable=True):
                meter.open()
        may_write_outside = meter.may_write
        meter.may_write = write
        try:
            yield
        except Exception as error:
            ours = errors.translated(error, maybe_applied=meter.maybe_applied, now=timezone.now())
            if ours is None or ours is error:
                raise
            raise ours from error
        finally:
            meter.may_write = may_write_outside
            if is_outermost:
                meter.close()

    def json(
        self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """One raw request, for what PyGithub lacks; a block of its own unless it is made in one.

        Args:
            path: `/repos/acme/widgets/…`, with a query if need be, or a whole URL that GitHub gave.
            body: JSON value; None sends no body.

        Returns:
            Status below 400 (304 too), headers by name in lower case, and the JSON answer: None when there is none, the
            text when it is no JSON.

        Raises:
            TrackerError: As for `calling`.
        """
        with self.calling(write=method not in ("GET", "HEAD")):
            root = conf().api_url
            if not path.startswith((f"{root}/", "/")):
                raise errors.misfit("a URL of another host", maybe_applied=False)
            status, said, text = self.github.requester.requestJson(
                method, path, None, dict(headers or {}), None if body is None else body
            )
            answer = _parsed(text)
            if status >= 400:
                raise Requester.createException(status, said, answer if isinstance(answer, dict) else {})
            return status, errors.lower_keys(said), answer


def _parsed(text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
