"""What a shopper may do: ask for a return."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain import codec, number
from connector.domain.orders import Order
from connector.domain.platform import Contact
from connector.domain.policy import Claim, Decision, Outcome, Resolution, decide
from connector.domain.rma import Disposition, Move, RmaState
from connector.models import ContactRow, Kind, Rma, RmaLine, Units
from connector.secrets import Vault
from connector.services import mails, mirroring, orders, outbox, policies, rmas, timeline
from connector.services.mails import Event
from connector.services.shops import ShopKeys

_LONGEST_WORD: Final = 64  # characters of a reason's or a condition's code


class FormUsed(ValueError):
    """The form was sent before, for another order. Show a fresh one."""


class NotReturnable(Exception):
    """The policy refuses; the decision says why, claim by claim."""

    def __init__(self, decision: Decision) -> None:
        """`decision` holds every rule that was evaluated."""
        super().__init__(", ".join(decision.refusals))
        self.decision = decision


def request_return(
    session: Session,
    shop: ShopKeys,
    order: Order,
    claims: Sequence[Claim],
    *,
    read_began: datetime | None,
    contact: Contact,
    form_token: str,
    wanted: Resolution | None = None,
    said: str = "",
    vault: Vault,
    now: datetime,
    random_below: Callable[[int], int] = secrets.randbelow,
) -> Rma:
    """Make an RMA of a shopper's claims: requested, or authorised at once where the policy says so.

    The form token makes a double click or a reload find the first RMA. `order` was read beginning at `read_began`
    (database clock); None: it is the snapshot that we keep, read under the order's lock. `wanted` is the resolution that
    they chose, `said` what they wrote: it is kept with their contact.

    Raises:
        NotReturnable: the policy refuses.
        NoPolicy: the shop has none.
        FormUsed: the form made an RMA of another order.
    """
    if any(len(word) > _LONGEST_WORD or not word.isprintable() for claim in claims for word in (claim.reason, claim.condition)):
        raise ValueError("a reason and a condition are codes of the policy")
    orders.lock(session, shop.id, order.ref)
    if (already := _made_by(session, shop.id, form_token, order)) is not None:
        return already
    if read_began is not None:
        mirroring.keep(session, shop.id, order, read_began=read_began, vault=vault, now=now)
    zone = ZoneInfo(shop.time_zone)
    today = now.astimezone(zone).date()
    policy_id, policy = policies.in_force(session, shop.id, today)
    decision = decide(policy, order, claims, taken=rmas.taken(session, shop.id, order), today=today, zone=zone)
    if decision.outcome is Outcome.REFUSE:
        raise NotReturnable(decision)
    if wanted is not None and wanted not in decision.resolutions:
        raise ValueError("the policy does not offer this resolution")
    rma = _new(session, shop.id, order, policy_id, decision, wanted=wanted, form_token=form_token, now=now, random_below=random_below)
    _add_lines(session, rma, claims)
    _keep_contact(session, rma, contact, said, vault)
    facts = {"outcome": decision.outcome.value}
    timeline.record(session, "rma.requested", shop=shop.id, rma=rma.id, who="shopper", at=now, for_shopper=True, facts=facts)
    if decision.outcome is Outcome.ALLOW:
        authorise(session, rma, who="policy", today=today, now=now, expiry_days=policy.expiry_days)
    else:
        mails.about(session, Event.REQUESTED, rma.id, shop=shop.id, now=now)
    outbox.put(session, Kind.MIRROR, rma.id, shop=shop.id, now=now)
    return rma


def authorise(session: Session, rma: Rma, *, who: str, today: date, now: datetime, expiry_days: int) -> None:
    """Give the return authorisation, good for `expiry_days`. Raises `IllegalMove`."""
    expires_on = today + timedelta(days=expiry_days)
    rmas.move(session, rma, Move.AUTHORISE, who=who, now=now, expires_on=expires_on.isoformat())
    rma.expires_on = expires_on  # after the move, which may be refused
    mails.about(session, Event.AUTHORISED, rma.id, shop=rma.shop_id, now=now)


def _made_by(session: Session, shop: uuid.UUID, form_token: str, order: Order) -> Rma | None:
    """The RMA that this form made before. Raises `FormUsed` where that was another order's."""
    found = session.execute(select(Rma).where(Rma.shop_id == shop, Rma.form_token == form_token)).scalar_one_or_none()
    if found is not None and found.order_ref != order.ref:
        raise FormUsed
    return found


def _keep_contact(session: Session, rma: Rma, contact: Contact, said: str, vault: Vault) -> None:
    sealed = vault.encrypt("contact", rma.id.hex, codec.write(contact).decode())
    session.add(ContactRow(rma_id=rma.id, sealed=sealed, said=vault.encrypt("said", rma.id.hex, said) if said else None))


def _new(
    session: Session,
    shop: uuid.UUID,
    order: Order,
    policy: uuid.UUID,
    decision: Decision,
    *,
    wanted: Resolution | None,
    form_token: str,
    now: datetime,
    random_below: Callable[[int], int],
) -> Rma:
    rma = Rma(
        id=uuid.uuid4(),
        shop_id=shop,
        order_ref=order.ref,
        number=_fresh_number(session, shop, random_below),
        state=RmaState.REQUESTED,
        policy_id=policy,
        decision=codec.write(decision),
        form_token=form_token,
        requested_at=now,
        wanted=None if wanted is None else wanted.value,
    )
    session.add(rma)
    session.flush()
    return rma


def _fresh_number(session: Session, shop: uuid.UUID, random_below: Callable[[int], int]) -> str:
    """A number that the shop never used; the unique index has the last word in a race, and the request is then made again."""
    while True:
        drawn = number.draw(random_below)
        if session.execute(select(Rma.id).where(Rma.shop_id == shop, Rma.number == drawn)).first() is None:
            return drawn


def _add_lines(session: Session, rma: Rma, claims: Sequence[Claim]) -> None:
    for claim in claims:
        line = RmaLine(
            id=uuid.uuid4(), rma_id=rma.id, line_ref=claim.line, quantity=claim.quantity, reason=claim.reason, condition=claim.condition
        )
        session.add(line)
        session.flush()
        session.add(Units(rma_line_id=line.id, disposition=Disposition.AWAITED, quantity=claim.quantity))
    session.flush()
