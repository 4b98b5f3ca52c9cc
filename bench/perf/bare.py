"""The floor of the webhook intake: a Django view that answers 202 and does nothing else, behind the same middleware.

uvicorn bench.perf.bare:application
"""

from __future__ import annotations

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def accept(request: HttpRequest) -> HttpResponse:
    """202, whatever came."""
    return HttpResponse(status=202)


urlpatterns = [path("bare/", accept)]
settings.ROOT_URLCONF = __name__
application = get_asgi_application()
