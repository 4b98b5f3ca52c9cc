"""The endpoint for GitHub's webhooks: verify, store, answer. What a delivery means is found out later, by a task."""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from coordinator.web import connections, waking
from coordinator.web.negotiation import AlwaysJson
from tracker import public_inbound
from tracker.public_inbound import InboundError

log = logging.getLogger(__name__)


class GithubWebhookView(APIView):
    """`POST /webhooks/github/`: 202 once a delivery is stored. Never 2xx for one that is not.

    The signature is what lets somebody in; there is no session, no CSRF token and no throttle, which would lose events.
    """

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    parser_classes = ()
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = AlwaysJson

    def post(self, request: Request) -> HttpResponseBase:
        """Take one delivery in."""
        plain: HttpRequest = request._request
        try:
            body = _body(plain)
            with connections.borrowed():
                receipt = public_inbound.receive(headers=plain.headers, body=body, now=timezone.now())
        except InboundError as error:
            facts = {"action": "webhook", "status": error.status, "error": str(error)}
            log.warning("webhook refused", extra=facts)
            return _problem(error.status, str(error), error.fix)
        except DatabaseError as error:
            log.warning("webhook not stored", extra={"action": "webhook", "error": str(error)[:300]})
            return _problem(503, "the delivery could not be stored", "redeliver it once the database is back")
        if receipt.is_new:
            waking.wake_delivery(receipt.delivery_id)
        return JsonResponse({"delivery": receipt.delivery_id, "new": receipt.is_new}, status=202)

    def handle_exception(self, exc: Exception) -> Any:
        """Refusals of the framework in the form of our own."""
        if not isinstance(exc, APIException):
            raise exc
        return _problem(exc.status_code, "this is not how a webhook comes", "send a POST with a JSON body")


def _body(request: HttpRequest) -> bytes:
    """The raw body, of which no more is read than decides that it is too large."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    if announced.isascii() and announced.isdigit():
        public_inbound.check_size(int(announced) if len(announced) < 19 else public_inbound.BODY_MAX_BYTES + 1)
    return request.read(public_inbound.BODY_MAX_BYTES + 1)


def _problem(status: int, message: str, fix: str) -> JsonResponse:
    return JsonResponse({"error": message, "fix": fix}, status=status)
