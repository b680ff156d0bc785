"""What a return is worth under the decision that judged it: for the shopper before they ask, for staff before they pay."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from connector.domain.orders import LineRef, Order
from connector.domain.policy import Claim, Decision, RuleCode, decide, restocking
from connector.domain.quote import Quote, price
from connector.domain.refusals import Unpriceable
from connector.domain.standing import as_it_stands
from connector.domain.terms import Policy, Resolution
from connector.domain.wanted import Payout, Wanted, WantedCharge, WantedLine
from connector.services import orders, policies, rmas
from connector.services.shops import ShopKeys

PAYOUTS: Final[Mapping[Resolution, Payout]] = {Resolution.REFUND: Payout.ORIGINAL, Resolution.STORE_CREDIT: Payout.STORE_CREDIT}


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to make it right, and what it comes to now; `quote` says why not where nothing can be given."""

    resolution: Resolution
    quote: Quote | Unpriceable


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a shopper is told before they ask: the policy's decision on their claims, and what each resolution would give."""

    policy_id: uuid.UUID
    policy: Policy
    decision: Decision
    offers: tuple[Offer, ...]


def quote(
    decision: Decision,
    standing: Order,
    units: Mapping[LineRef, int],
    payout: Payout,
    *,
    shipping: tuple[WantedCharge, ...] = (),
    fees: tuple[WantedCharge, ...] = (),
) -> Quote | Unpriceable:
    """What `units` of the order, as it stands, give back under the fees of the decision."""
    percent, fee = restocking(decision.fee(RuleCode.RESTOCKING_FEE), standing, units)
    shipping_fee = decision.fee(RuleCode.RETURN_SHIPPING_FEE)
    return price(
        standing,
        Wanted(
            lines=tuple(WantedLine(ref, count) for ref, count in sorted(units.items())),
            shipping=shipping,
            fees=fees,
            restocking_percent=percent,
            restocking_fee=fee,
            return_shipping_fee=shipping_fee.minor if shipping_fee and units.keys() & set(shipping_fee.lines) else 0,
            payout=payout,
            bonus_percent=decision.bonus_percent,
        ),
    )


def prospect(session: Session, shop: ShopKeys, order: Order, claims: Sequence[Claim], *, now: datetime) -> Prospect:
    """The decision on these claims today, and an offer for each resolution of the policy that can be priced. Raises `NoPolicy`."""
    zone = ZoneInfo(shop.time_zone)
    today = now.astimezone(zone).date()
    policy_id, policy = policies.in_force(session, shop.id, today)
    decision = decide(policy, order, claims, taken=rmas.taken(session, shop.id, order), today=today, zone=zone)
    standing = as_it_stands(order, orders.ours(session, shop.id, order.ref))
    units = {claim.line: claim.quantity for claim in claims}
    offers = tuple(
        Offer(resolution, quote(decision, standing, units, PAYOUTS[resolution]))
        for resolution in (decision.resolutions if not decision.refusals else ())
        if resolution in PAYOUTS
    )
    return Prospect(policy_id, policy, decision, offers)
