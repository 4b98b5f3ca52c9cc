"""How much agents may say without a person: in a thread, to each other, in one run; and how many threads a tree has."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Max, Q, QuerySet

from coordinator.models import Agent, Post, Thread
from coordinator.public_errors import CoordinatorError, LimitExceededError
from coordinator.public_types import MessageKind, ThreadKind
from coordinator.rules import vocabulary
from coordinator.talk import reach

MAX_IN_THREAD = 100
"""Posts of agents in one thread since a person last said something there."""
MAX_OF_PAIR = 100
"""Direct messages between two agents, both ways together, since a person last told one of them something."""
MAX_ASKED = 20
"""Of either, those that have somebody looked at who does not run: each may start a run, and runs cost money."""
MAX_OF_RUN = 100
"""Posts of one run; calls at the same moment may pass it by their number."""
MAX_THREADS = 30
"""Open ones of agents in one tree."""
MAX_MEMBERS = 20


def check_run(execution_id: UUID | None) -> None:
    """Raise LimitExceededError when a run has said enough."""
    if execution_id is None:
        return
    said = Post.objects.filter(execution_id=execution_id).count()
    if said >= MAX_OF_RUN:
        raise LimitExceededError(
            kind="messages of this run; go on with the work, or end it", value=said, limit=MAX_OF_RUN
        )


def check_pair(one: Agent, other: Agent, kind: MessageKind) -> None:
    """Raise LimitExceededError when two agents have said, or asked, enough to each other."""
    both = Post.objects.filter(thread=None, deliveries__agent__in=[one.pk, other.pk])
    person = both.exclude(sender__startswith="agent:").exclude(sender="grid").aggregate(last=Max("pk"))["last"] or 0
    ways = Q(sender=one.stream, deliveries__agent=other.pk) | Q(sender=other.stream, deliveries__agent=one.pk)
    since = Post.objects.filter(ways, thread=None, pk__gt=person)
    said = since.count()
    if said >= MAX_OF_PAIR:
        raise too_much(said, limit=MAX_OF_PAIR)
    _check_asked(since, kind)


def check_thread(thread: Thread, kind: MessageKind) -> None:
    """Raise LimitExceededError when the agents of a thread have asked enough in it."""
    said = Post.objects.filter(thread=thread)
    person = said.exclude(sender__startswith="agent:").exclude(sender="grid").aggregate(last=Max("pk"))["last"] or 0
    _check_asked(said.filter(sender__startswith="agent:", pk__gt=person), kind)


def _check_asked(since: QuerySet[Post], kind: MessageKind) -> None:
    if kind not in vocabulary.ASKING:
        return
    asked = since.filter(kind__in=[str(one) for one in vocabulary.ASKING]).count()
    if asked >= MAX_ASKED:
        raise too_much(asked, limit=MAX_ASKED, what="questions")


def check_threads(root: Agent) -> None:
    """Raise LimitExceededError when a tree has too many open threads; holds the root's row until the transaction ends."""
    list(Agent.objects.select_for_update(of=("self",), no_key=True).filter(pk=root.pk))
    ours = Thread.objects.filter(reach.open_threads(), root=root, kind=ThreadKind.CHAT)
    count = ours.filter(opened_by__startswith="agent:").count()
    if count >= MAX_THREADS:
        raise LimitExceededError(
            kind="open threads of this tree; use one that there is", value=count, limit=MAX_THREADS
        )


def check_members(count: int) -> None:
    """Raise LimitExceededError for a thread of too many."""
    if count > MAX_MEMBERS:
        raise LimitExceededError(kind="agents in one thread", value=count, limit=MAX_MEMBERS)


def too_much(said: int, *, limit: int | None = None, what: str = "messages") -> CoordinatorError:
    """Two that would talk for ever."""
    kind = (
        f"{what} between agents here since a person last said something; settle it with what you know, "
        "or report blocked and say what a person must decide"
    )
    return LimitExceededError(kind=kind, value=said, limit=limit or MAX_IN_THREAD)
