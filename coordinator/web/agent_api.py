"""The grid's tools over plain HTTP, for agents whose program speaks no MCP: the same token, tools, limits and events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from coordinator.toolbox import calls, schemas
from coordinator.toolbox.calls import Status
from coordinator.web import agent_door, connections
from coordinator.web.agent_door import BODY_BYTES, DoorError
from coordinator.web.negotiation import AlwaysJson

STATUS: Mapping[Status, int] = {
    Status.OK: 200,
    Status.REFUSED: 422,
    Status.UNKNOWN: 404,
    Status.OVER: 401,
    Status.FAULT: 500,
}
"""How a call ended, as HTTP says it. What the door answers (401, 429) and a bad body (400, 413) are beside it."""


class AgentView(APIView):
    """What both endpoints share: the token lets in; no session, no CSRF token."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    parser_classes = ()
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = AlwaysJson

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer on a borrowed connection, and every refusal in one form."""
        try:
            with connections.borrowed():
                return super().dispatch(request, *args, **kwargs)
        except DatabaseError:
            return _problem(503, "the grid's database does not answer; try again in a moment", {"Retry-After": "2"})

    def handle_exception(self, exc: Exception) -> Any:
        """The door's refusals and the framework's."""
        if isinstance(exc, DoorError):
            return _problem(exc.status, str(exc), exc.headers)
        if isinstance(exc, APIException):
            return _problem(exc.status_code, str(exc.detail))
        raise exc


class ToolsView(AgentView):
    """`GET /api/agent/v1/tools`: the tools that the caller may use."""

    def get(self, request: Request) -> HttpResponseBase:
        """Name, description, and the JSON schema of the arguments of each."""
        caller = agent_door.admit(request.headers.get("Authorization", ""))
        shown = [
            {"name": tool.name, "description": tool.description, "arguments": schemas.plain(tool.schema)}
            for tool in calls.tools_of(caller)
        ]
        return JsonResponse({"tools": shown})


class ToolView(AgentView):
    """`POST /api/agent/v1/tools/<name>`: one call; the body is a JSON object of arguments."""

    def post(self, request: Request, name: str) -> HttpResponseBase:
        """`result` or `error`, and `notes` for the agent beside it."""
        caller = agent_door.admit(request.headers.get("Authorization", ""))
        reply = calls.answer(caller, name, _arguments(request._request))
        part = "result" if reply.status == Status.OK else "error"
        return JsonResponse({part: reply.value, "notes": list(reply.notes)}, status=STATUS[reply.status])


def _arguments(request: HttpRequest) -> dict[str, Any]:
    """The body, of which no more is read than decides that it is too large. Raises DoorError."""
    body = request.read(BODY_BYTES + 1)
    if len(body) > BODY_BYTES:
        raise DoorError(413, f"the arguments are larger than {BODY_BYTES} bytes; send less")
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise DoorError(400, f"the body is not JSON: {error}"[:300]) from error
    if not isinstance(value, dict):
        raise DoorError(400, "the body must be a JSON object of arguments, such as {}")
    return value


def _problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> JsonResponse:
    answer = JsonResponse({"error": message}, status=status, headers=dict(headers or {}))
    # Django logs a line for each refusal; an agent that hammers would fill the disk with them. Events tell of them.
    answer._has_been_logged = True  # type: ignore[attr-defined]  # what Django itself sets and looks for
    return answer
