"""A shopper submits what they were shown: once, under the order's lock, and only for the amount that they saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain.orders import OrderRef
from connector.domain.platform import Contact
from connector.domain.policy import Claim, Outcome, Resolution
from connector.domain.quote import Quote
from connector.models import Rma
from connector.secrets import Vault
from connector.services import orders, pricing, shopper
from connector.services.pricing import Prospect
from connector.services.shopper import FormUsed, NotReturnable
from connector.services.shops import ShopKeys

__all__ = ["AmountChanged", "Form", "FormUsed", "NotReturnable", "OrderGone", "chosen", "submit"]


class AmountChanged(Exception):
    """The return gives something else by now than what the shopper saw. Nothing was submitted."""

    def __init__(self, shown: tuple[int, int], prospect: Prospect) -> None:
        """`shown` is the total and the bonus that they saw (minor units), `prospect` what holds now."""
        super().__init__("the amount changed")
        self.shown, self.prospect = shown, prospect


class OrderGone(LookupError):
    """The order was never read, or its snapshot is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a shopper sends. `word` makes a double click and a reload one; `shown` is the total and the bonus that they saw."""

    word: str
    claims: tuple[Claim, ...]
    wanted: Resolution
    shown: tuple[int, int]
    said: str = field(default="", repr=False)


def chosen(prospect: Prospect, wanted: Resolution | None) -> Quote | None:
    """What the chosen resolution gives; None: it is not offered, or gives nothing that can be worked out."""
    quotes = {offer.resolution: offer.quote for offer in prospect.offers if isinstance(offer.quote, Quote)}
    return None if wanted is None else quotes.get(wanted)


def submit(session: Session, shop: ShopKeys, ref: OrderRef, form: Form, contact: Contact, *, vault: Vault, now: datetime) -> Rma:
    """Make the RMA, or find the one that this form made before.

    Raises:
        OrderGone: there is nothing to decide on.
        NotReturnable: the policy refuses (by now).
        AmountChanged: the chosen resolution gives something else than `form.shown`, or is not offered any more.
        NoPolicy, FormUsed: as `shopper.request_return` says.
    """
    orders.lock(session, shop.id, ref)
    order = orders.snapshot(session, shop.id, ref)
    if order is None:
        raise OrderGone(ref)
    sent_before = select(Rma.id).where(Rma.shop_id == shop.id, Rma.form_token == form.word)
    if session.execute(sent_before).first() is None:
        prospect = pricing.prospect(session, shop, order, form.claims, now=now)
        if prospect.decision.outcome is Outcome.REFUSE:
            raise NotReturnable(prospect.decision)
        quote = chosen(prospect, form.wanted)
        if quote is None or (quote.total, quote.bonus) != form.shown:
            raise AmountChanged(form.shown, prospect)
    return shopper.request_return(
        session,
        shop,
        order,
        form.claims,
        read_began=None,
        contact=contact,
        form_token=form.word,
        wanted=form.wanted,
        said=form.said,
        vault=vault,
        now=now,
    )
