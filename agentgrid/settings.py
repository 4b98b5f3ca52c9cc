"""The only reader of the environment. Defaults run a fresh clone: SQLite, filesystem broker, local tracker.

Every variable is listed with a comment in `.env.example`; a test compares the two. Secrets may come from files:
`SECRET_KEY_FILE=/run/secrets/key` sets SECRET_KEY.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from agentgrid import transports
from agentgrid.secrets import kept_secret
from agentgrid.state_dir import make_private, make_private_file

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()
if env.bool("AGENTGRID_READ_DOTENV", True):
    environ.Env.read_env(BASE_DIR / ".env")

# --- Django ----------------------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", False)
STATE_DIR = Path(env.str("AGENTGRID_STATE_DIR", str(BASE_DIR / "var"))).resolve()
make_private(STATE_DIR)  # before anybody makes a folder in it, which would make it by the way and open
SECRET_KEY = env.str("SECRET_KEY", "")
IS_PRODUCTION = env.bool("AGENTGRID_PRODUCTION", False)
if not SECRET_KEY:
    if IS_PRODUCTION:
        raise ImproperlyConfigured("Set SECRET_KEY (or SECRET_KEY_FILE): production has no default.")
    # Made once for each state folder, so that sessions survive a restart.
    SECRET_KEY = kept_secret(STATE_DIR / "secret_key")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
INSTALLED_APPS = [
    "agentgrid",
    "bench",
    "coordinator",
    "grid",
    "tracker",
    "django_celery_beat",
    "rest_framework",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "agentgrid.urls"
ASGI_APPLICATION = "agentgrid.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "object-src": [CSP.NONE],
}
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
if IS_PRODUCTION:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", True)
    # Agents of this machine come over loopback, as they do to /mcp and /gateway, which Django does not serve.
    SECURE_REDIRECT_EXEMPT = [r"^api/agent/"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# --- Database --------------------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url("DATABASE_URL", f"sqlite:///{STATE_DIR}/agentgrid.sqlite3")
}
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    if _database["NAME"] != ":memory:":
        make_private(Path(_database["NAME"]).parent)
        make_private_file(Path(_database["NAME"]))
    # IMMEDIATE: a transaction that will write takes the lock at once and waits its turn, instead of failing half-way.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
elif env.bool("DATABASE_PREPARED_STATEMENTS", False):
    # For `grid.statements.plain` only: Django's own cursors never do. Runs of one statement before the server keeps its plan.
    _database.setdefault("OPTIONS", {})["prepare_threshold"] = 5
# Kept between tasks and requests: opening SQLite with its pragmas costs as much as a small task.
_database["CONN_MAX_AGE"] = env.int("DATABASE_CONN_MAX_AGE", 60)
_database["CONN_HEALTH_CHECKS"] = not _database["ENGINE"].endswith("sqlite3")

# --- Cache -----------------------------------------------------------------------------------------------------

REDIS_URL = env.str("REDIS_URL", "")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# --- Celery: messages only wake people up; the rows are the truth (docs/architecture.md) ------------------------------

CELERY_BROKER_URL = env.str("BROKER_URL", "gridfs://")
BROKER_KIND = urlsplit(CELERY_BROKER_URL).scheme
BROKER_DIR = STATE_DIR / "broker"
AWS_REGION = env.str("AWS_REGION", "us-east-1")
SQS_IS_SECURE = env.bool("SQS_IS_SECURE", True)
SQS_QUEUE_PREFIX = env.str("SQS_QUEUE_PREFIX", "agentgrid-")
SQS_VISIBILITY_TIMEOUT_SECONDS = transports.VISIBILITY_TIMEOUT_SECONDS
_SQS_WAIT_SECONDS = env.int("SQS_WAIT_SECONDS", 5)
match BROKER_KIND:
    case "gridfs":
        CELERY_BROKER_TRANSPORT_OPTIONS = transports.gridfs(BROKER_DIR)
    case "sqs":
        CELERY_BROKER_TRANSPORT_OPTIONS = transports.sqs(
            region=AWS_REGION, is_secure=SQS_IS_SECURE, wait_seconds=_SQS_WAIT_SECONDS, prefix=SQS_QUEUE_PREFIX
        )
    case _:
        CELERY_BROKER_TRANSPORT_OPTIONS = transports.redis()
SQS_MAX_RECEIVE_COUNT = 5
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_ROUTES = {"grid.launch": {"queue": "executions"}, "bench.noop": {"queue": "executions"}}
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.2}
CELERY_WORKER_PREFETCH_MULTIPLIER = 4 if BROKER_KIND == "gridfs" else 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 8
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
_SWEEP_SECONDS = env.float("AGENTGRID_SWEEP_SECONDS", 5.0)
CELERY_BEAT_SCHEDULE = {
    # Periods in seconds. Every tick is idempotent (coordinator.sweeps claims a slot), so two beats do no harm.
    "coordinator.sweep": {"task": "coordinator.sweep", "schedule": _SWEEP_SECONDS},
    "coordinator.resume_parents": {"task": "coordinator.resume_parents", "schedule": _SWEEP_SECONDS * 3},
    "coordinator.sync": {"task": "coordinator.sync", "schedule": env.float("AGENTGRID_SYNC_SECONDS", 300.0)},
    "coordinator.housekeeping": {"task": "coordinator.housekeeping", "schedule": 3600.0},
}

# --- The grid: read through grid.conf ----------------------------------------------------------------------------

GRID_STATE_DIR = STATE_DIR
GRID_SLOTS = env.int("AGENTGRID_SLOTS", 4)
GRID_LEASE_SECONDS = env.int("AGENTGRID_LEASE_SECONDS", 60)
GRID_HEARTBEAT_SECONDS = env.float("AGENTGRID_HEARTBEAT_SECONDS", 10.0)
GRID_DRAIN_SECONDS = env.int("AGENTGRID_DRAIN_SECONDS", 15)
# Variables of ours that agents may see, by name; nothing else of our environment reaches them.
GRID_AGENT_ENV = {name: env.str(name) for name in env.list("AGENTGRID_AGENT_ENV_ALLOW", default=[]) if name in env}
# Where agents on this machine reach `web`: our tools and the model gateway. Empty: they get neither.
GRID_AGENT_URL = env.str("AGENTGRID_AGENT_URL", "")
GRID_SANDBOX = env.str("AGENTGRID_SANDBOX", "auto")
GRID_EGRESS_ALLOW = env.list("AGENTGRID_EGRESS_ALLOW", default=[])
GRID_DOCKER_IMAGE = env.str("AGENTGRID_DOCKER_IMAGE", "")
GRID_AGENT_PATH = env.str("AGENTGRID_AGENT_PATH", "/usr/local/bin:/usr/bin:/bin")
GRID_KEEP_RUNS_DAYS = env.int("AGENTGRID_KEEP_RUNS_DAYS", 7)
GRID_EVENT_WAKE_TASK = "coordinator.apply_events"
# Tests refuse an event that is not in the catalogue or breaks its schema; in production it is a fact all the same.
EVENTS_ARE_CHECKED = False
# Every event, for programs of others: the address of a queue. Account, region and TLS are those of the broker's settings.
GRID_BUS_URL = env.str("EVENT_BUS_URL", "")
if GRID_BUS_URL and not re.fullmatch(r"sqs://[^/?#\s]*/[A-Za-z0-9_-]{1,75}(\.fifo)?", GRID_BUS_URL):
    raise ImproperlyConfigured(
        "EVENT_BUS_URL: give sqs://[key:secret@][host[:port]]/QUEUE, e.g. sqs:///agentgrid-events.fifo."
    )
GRID_BUS_KINDS = env.list("EVENT_BUS_KINDS", default=[])
GRID_BUS_SOURCE = env.str("PUBLIC_URL", "").rstrip("/") or "/agent-grid"
GRID_BUS_REGION, GRID_BUS_IS_SECURE = AWS_REGION, SQS_IS_SECURE
GRID_PYTHON = sys.executable

# --- The coordinator: read through coordinator.conf ------------------------------------------------------------------

COORDINATOR_MAX_LIVE = env.int("AGENTGRID_MAX_LIVE", 50)
COORDINATOR_MAX_LIVE_PER_REPOSITORY = env.int("AGENTGRID_MAX_LIVE_PER_REPOSITORY", 20)
COORDINATOR_MAX_LIVE_PER_TREE = env.int("AGENTGRID_MAX_LIVE_PER_TREE", 10)
COORDINATOR_MAX_DEPTH = env.int("AGENTGRID_MAX_DEPTH", 3)
COORDINATOR_MAX_CHILDREN = env.int("AGENTGRID_MAX_CHILDREN", 10)
COORDINATOR_MAX_OPEN_DESCENDANTS = env.int("AGENTGRID_MAX_OPEN_DESCENDANTS", 50)
COORDINATOR_MAX_ATTEMPTS = env.int("AGENTGRID_MAX_ATTEMPTS", 3)
COORDINATOR_TREE_EXECUTIONS = env.int("AGENTGRID_TREE_EXECUTIONS", 100)
COORDINATOR_TREE_WALL_SECONDS = env.int("AGENTGRID_TREE_WALL_SECONDS", 8 * 3600)
# Money and tokens for models in one tree, through the gateway; 0 means no limit.
COORDINATOR_TREE_USD = env.float("AGENTGRID_TREE_USD", 20.0)
COORDINATOR_TREE_TOKENS = env.int("AGENTGRID_TREE_TOKENS", 50_000_000)
# Tool calls and agents of one tree, tool calls of one run; 0 means no limit.
COORDINATOR_TREE_TOOL_CALLS = env.int("AGENTGRID_TREE_TOOL_CALLS", 50_000)
COORDINATOR_TREE_CHILDREN = env.int("AGENTGRID_TREE_CHILDREN", 200)
COORDINATOR_TOOL_CALLS = env.int("AGENTGRID_TOOL_CALLS", 1_000)
# How many times a tree's usual runs and money people with write access may raise it to by `/agent budget`; 1: not above them.
COORDINATOR_RAISE_FACTOR = env.int("AGENTGRID_RAISE_FACTOR", 2)
# Money that a tree may spend without work that is accepted, before it waits for a person; 0 means no limit.
COORDINATOR_SPEND_WITHOUT_PROGRESS_USD = env.float("AGENTGRID_SPEND_WITHOUT_PROGRESS_USD", 10.0)
# One day (UTC) of the fleet, and of each repository; 0 means no limit.
COORDINATOR_DAY_USD = env.float("AGENTGRID_DAY_USD", 0.0)
COORDINATOR_DAY_TOKENS = env.int("AGENTGRID_DAY_TOKENS", 0)
COORDINATOR_DAY_EXECUTIONS = env.int("AGENTGRID_DAY_EXECUTIONS", 0)
COORDINATOR_REPOSITORY_DAY_USD = env.float("AGENTGRID_REPOSITORY_DAY_USD", 0.0)
COORDINATOR_REPOSITORY_DAY_TOKENS = env.int("AGENTGRID_REPOSITORY_DAY_TOKENS", 0)
COORDINATOR_REPOSITORY_DAY_EXECUTIONS = env.int("AGENTGRID_REPOSITORY_DAY_EXECUTIONS", 0)
# The strongest tier of models for agents of depth 0, 1, …; the last one holds for all below. Empty: profiles decide.
COORDINATOR_TIERS_BY_DEPTH = env.list("AGENTGRID_TIERS_BY_DEPTH", default=[])
COORDINATOR_RETRY_SECONDS = env.float("AGENTGRID_RETRY_SECONDS", 10.0)
# Two agents that want the same files: seconds until the default is taken when nobody decides, and seconds that an agent
# which is asked to give way has for it.
COORDINATOR_CONFLICT_SECONDS = env.int("AGENTGRID_CONFLICT_SECONDS", 120)
COORDINATOR_CONFLICT_GRACE_SECONDS = env.int("AGENTGRID_CONFLICT_GRACE_SECONDS", 30)
COORDINATOR_WORKING = env.bool("AGENTGRID_WORKING", True)

# --- Model gateway: the real keys stay in `web`; agents show the token of their execution --------------------------------

# Spelled out, so that every variable is found by its name.
_MODEL_APIS = {
    "anthropic": (
        env.str("GATEWAY_ANTHROPIC_URL", "https://api.anthropic.com"),
        env.str("GATEWAY_ANTHROPIC_API_KEY", ""),
    ),
    "openai": (env.str("GATEWAY_OPENAI_URL", "https://api.openai.com"), env.str("GATEWAY_OPENAI_API_KEY", "")),
    "gemini": (
        env.str("GATEWAY_GEMINI_URL", "https://generativelanguage.googleapis.com"),
        env.str("GATEWAY_GEMINI_API_KEY", ""),
    ),
    "ollama": (env.str("GATEWAY_OLLAMA_URL", "http://127.0.0.1:11434"), env.str("GATEWAY_OLLAMA_API_KEY", "")),
}
_gateway = env.list("GATEWAY_PROVIDERS", default=[])
if unknown := sorted(set(_gateway) - set(_MODEL_APIS)):
    raise ImproperlyConfigured(f"GATEWAY_PROVIDERS: {', '.join(unknown)} unknown; known are {', '.join(_MODEL_APIS)}.")
# Prices of models that the public list does not know, or not as you pay them: US dollars for a million tokens read and
# written, as in `openai:gpt-9=2.5/20,openai:local-*=0/0`.
_PRICE = re.compile(r"([a-z]+:[^=*]*\*?)=([0-9]{1,6}(?:\.[0-9]{1,6})?)/([0-9]{1,6}(?:\.[0-9]{1,6})?)")
GATEWAY_PRICES = {}
for _item in env.list("GATEWAY_PRICES", default=[]):
    _found = _PRICE.fullmatch(_item.strip())
    if _found is None:
        raise ImproperlyConfigured(
            f"GATEWAY_PRICES: {_item!r} is no price; write provider:model=input/output in dollars."
        )
    GATEWAY_PRICES[_found[1]] = (float(_found[2]), float(_found[3]))
GATEWAY = {name: {"url": url.rstrip("/"), "key": key} for name, (url, key) in _MODEL_APIS.items() if name in _gateway}
# Ways in which agents may have their models' providers reach the network: see docs/gateway.md.
_WAYS = ("web_search", "web_fetch", "mcp", "code", "urls", "other")
GATEWAY_MAY_REACH = env.list("GATEWAY_MAY_REACH", default=[])
if unknown := sorted(set(GATEWAY_MAY_REACH) - set(_WAYS)):
    raise ImproperlyConfigured(f"GATEWAY_MAY_REACH: {', '.join(unknown)} unknown; known are {', '.join(_WAYS)}.")

# --- GitHub: read through tracker.conf ---------------------------------------------------------------------------------

TRACKER_GITHUB_API_URL = env.str("GITHUB_API_URL", "https://api.github.com")
TRACKER_GITHUB_GIT_URL = env.str("GITHUB_GIT_URL", "https://github.com")
TRACKER_GITHUB_APP_ID = env.str("GITHUB_APP_ID", "")
# Platforms that keep variables on one line write the PEM's line ends as \\n.
TRACKER_GITHUB_APP_KEY = env.str("GITHUB_APP_PRIVATE_KEY", "").replace("\\n", "\n")
TRACKER_GITHUB_TOKEN = env.str("GITHUB_TOKEN", "")
TRACKER_GITHUB_WEBHOOK_SECRETS = [env.str("GITHUB_WEBHOOK_SECRET", ""), env.str("GITHUB_WEBHOOK_SECRET_OLD", "")]
TRACKER_GITHUB_OWNERS = env.list("GITHUB_OWNERS", default=[])
TRACKER_GITHUB_ALLOWED_BOTS = env.list("GITHUB_ALLOWED_BOTS", default=[])
TRACKER_GITHUB_MACHINE_USER = env.str("GITHUB_MACHINE_USER", "")
TRACKER_GITHUB_TIMEOUT_SECONDS = 10.0  # not for operators: leases rest on calls that end within 30 seconds
TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = env.float("GITHUB_SECONDS_BETWEEN_WRITES", 1.0)
# Where people reach this installation: the links in comments.
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")

# --- Logs ------------------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "agentgrid.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", "INFO")},
    "loggers": {"kombu": {"level": "WARNING"}, "botocore": {"level": "WARNING"}, "urllib3": {"level": "WARNING"}},
}
# Further checks of `doctor`, by dotted name: each returns what is wrong, a line each.
DOCTOR_CHECKS = ["agentgrid.brokers.check_queues", "agentgrid.state_dir.check_modes", "grid.public_bus.check"]
GIT = shutil.which("git") or "git"
