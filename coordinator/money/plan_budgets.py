"""A node's budget as a plan wishes for it, made into limits of its envelope."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from coordinator import auditing
from coordinator.models import Agent, AuditEntry, Envelope
from coordinator.money import budgets
from coordinator.public_errors import NotAllowedError
from coordinator.rules import plan_origins
from coordinator.rules.plan_origins import Given

_RAISED = "raise_limit"


def limit_for(wish: dict[str, int], above: Envelope) -> int | None:
    """Micro-dollars that a wish comes to under a parent's envelope; None: none of its own.

    Args:
        wish: `share` (percent of what the parent may use) and `usd_micros`, as `Agent.spec["budget"]` holds them.
    """
    whole, share = above.usd_limit_micros, wish.get("share")
    part = whole * share // 100 if whole is not None and share is not None else None
    amounts = [amount for amount in (part, wish.get("usd_micros"), whole) if amount is not None]
    return min(amounts) if part is not None or "usd_micros" in wish else None


def with_wish(agent: Agent, share: int, limits: Mapping[str, int]) -> tuple[int, Mapping[str, int]]:
    """What an agent gets at its first launch: no more than its profile gives, and no more than its plan asks for."""
    wish = agent.spec.get("budget", {})
    usd = [amount for amount in (limits.get("usd_micros"), wish.get("usd_micros")) if amount is not None]
    return min(share, wish.get("share", share)), {**limits, **({"usd_micros": min(usd)} if usd else {})}


def set_wish(agent: Agent, *, parent: Agent | None, actor: str) -> int | None:
    """Give an agent's envelope the limit that its wish comes to, as the parent stands now; audited, in the caller's transaction.

    A wish that was taken back leaves the limit as it is.

    Returns:
        The new limit in micro-dollars; None where nothing was changed.

    Raises:
        InvalidInputError: It has used or reserved more than that.
    """
    own = Envelope.objects.get(pk=agent.envelope_id)
    above = Envelope.objects.get(pk=own.path_ids[-2] if parent is None else parent.envelope_id)
    limit = limit_for(agent.spec.get("budget", {}), above)
    if limit is None or limit == own.usd_limit_micros:
        return None
    before, _ = budgets.set_limits(own.key, {"usd_micros": limit})
    detail = {"before": before.usd_limit_micros, "after": limit, "by": "plan"}
    auditing.record(actor, _RAISED, own.key, detail)
    return limit


def given_by_hand(keys: Collection[str]) -> dict[str, Given]:
    """By the key of each of these envelopes: the last money that a person gave it other than by a plan, where one did."""
    found: dict[str, Given] = {}
    acts = AuditEntry.objects.filter(action=_RAISED, target__in=keys).exclude(detail__has_key="by")
    for act in acts.order_by("pk"):
        before, after = act.detail["before"], act.detail["after"]
        if plan_origins.is_person(act.actor) and before["usd_micros"] != after["usd_micros"]:
            found[act.target] = Given(usd_micros=after["usd_micros"], by=act.actor, at=act.at.isoformat())
    return found


def check_own(wish: dict[str, int], above: Envelope, *, share: int) -> None:
    """Whether an agent may give a child this much. Raises NotAllowedError: beyond its own limit or its share."""
    usd, whole = wish.get("usd_micros"), above.usd_limit_micros
    if wish.get("share", 0) > share:
        raise NotAllowedError(f"a child may get {share} % of your budget at most, not {wish['share']} %")
    if usd is not None and whole is not None and usd > whole:
        raise NotAllowedError(f"your own budget is ${whole / 1_000_000:g}; a child cannot have ${usd / 1_000_000:g}")
