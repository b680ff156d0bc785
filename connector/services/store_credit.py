"""Store credit that lives in codes: draw a code, remember what was issued, and follow what becomes of it.

A code is worth its whole amount once; where the platform would lose what an order did not use of it, the rest gets a code of
its own (`jobs/credit.py` walks the steps).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from connector import db
from connector.domain.connecting import CreditRest, CreditUse, UsedCredit
from connector.domain.money import Money
from connector.domain.number import ALPHABET
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import CreditOrder, Receipt
from connector.models import AlarmKind, Credit, CreditUseRow, Kind, OutboxRow, Refund, Resolution
from connector.secrets import Vault
from connector.services import orders, outbox, timeline
from connector.services.raising import raise_alarm
from connector.services.shops import ShopKeys, keys_of

_DRAWN: Final = 12  # characters of 31: 59 bits that nobody guesses


def code(vault: Vault, rma: str, key: str) -> str:
    """The code of a credit: the RMA's number, and what only we can draw from the key of its row. The same for every try."""
    drawn, letters = int(vault.digest("credit", key), 16), []
    for _ in range(_DRAWN):
        drawn, place = divmod(drawn, len(ALPHABET))
        letters.append(ALPHABET[place])
    return f"{rma}-{''.join(letters)}"


def issued(session: Session, row: Refund, told: CreditOrder, receipt: Receipt, *, now: datetime) -> None:
    """Remember the code of a settled credit, once. A credit without a code needs no following."""
    if told.code:
        worth = receipt.worth or Money(told.amount.minor + told.bonus.minor, told.amount.currency)
        _remember(session, row.shop_id, row.id, told.code, worth, now=now)


def seen_in(session: Session, shop: uuid.UUID, order: Order, *, now: datetime) -> int:
    """The order was read: ask for a look at every code of ours in it, now or before. Once per change of the order.

    The caller holds the order's lock. Returns how many looks were asked for.
    """
    mine = select(CreditUseRow).where(CreditUseRow.shop_id == shop, CreditUseRow.order_ref == order.ref)
    known = {use.credit_id for use in session.execute(mine).scalars()}
    for credit in _ours_in(session, shop, order):
        if credit.id not in known:
            session.add(CreditUseRow(shop_id=shop, credit_id=credit.id, order_ref=order.ref, next_code=_next_code(session, credit)))
            session.flush()
    asked = 0
    for use in session.execute(mine.order_by(CreditUseRow.id)).scalars():
        if use.seen_at is None or order.changed_at is None or use.seen_at < order.changed_at:
            asked += 1
            if not _is_asked(session, use.id):
                outbox.put(session, Kind.REISSUE, use.id, shop=shop, now=now)
    return asked


@dataclass(frozen=True, slots=True)
class Following:
    """A used code that is to be looked at. `changed_at` is the order's last change that we know: a later one asks again."""

    shop: ShopKeys = field(repr=False)
    used: UsedCredit = field(repr=False)
    changed_at: datetime | None


def following(session: Session, use_id: uuid.UUID) -> Following:
    """What is to be looked at. Raises `NoResultFound`."""
    use = session.get_one(CreditUseRow, use_id)
    credit = session.get_one(Credit, use.credit_id)
    ref = OrderRef(use.order_ref)
    known = orders.snapshot(session, use.shop_id, ref)
    used = UsedCredit(credit.code, ref, use.next_code, Money(credit.minor, credit.currency))
    return Following(keys_of(session, use.shop_id), used, known.changed_at if known else None)


def followed(session: Session, use_id: uuid.UUID, found: CreditRest, *, changed_at: datetime | None, now: datetime) -> None:
    """Write down what became of a used code. A rest is a code of its own, with an entry for the shopper; TWICE is an alarm.

    Nothing that was found once is taken back by a slower look: a code that was issued again stays so.
    """
    use = session.execute(db.for_update(session, select(CreditUseRow).where(CreditUseRow.id == use_id))).scalar_one()
    credit = session.get_one(Credit, use.credit_id)
    use.seen_at = max((at for at in (use.seen_at, changed_at) if at is not None), default=None)
    if use.use is found.use:
        return
    if use.use is CreditUse.REISSUED and found.use is not CreditUse.TWICE:
        return
    use.use = found.use
    facts: dict[str, timeline.Fact] = {
        "order": use.order_ref,
        "use": found.use.value,
        "rest": found.rest.minor,
        "currency": credit.currency,
    }
    if found.use is CreditUse.REISSUED:
        _remember(session, use.shop_id, credit.refund_id, use.next_code, found.rest, now=now)
    resolution = session.get_one(Resolution, session.get_one(Refund, credit.refund_id).resolution_id)
    if found.use is CreditUse.TWICE:
        spent = {"order": use.order_ref}
        raise_alarm(session, AlarmKind.CREDIT_TWICE, use.id.hex, spent, shop=use.shop_id, rma=resolution.rma_id, now=now)
    told = found.use is CreditUse.REISSUED
    timeline.record(
        session, "credit.followed", shop=use.shop_id, rma=resolution.rma_id, who="machine", at=now, for_shopper=told, facts=facts
    )


def _remember(session: Session, shop: uuid.UUID, row: uuid.UUID, code: str, worth: Money, *, now: datetime) -> None:
    values = {
        "id": uuid.uuid4(), "shop_id": shop, "refund_id": row, "code": code, "minor": worth.minor, "currency": worth.currency,
        "issued_at": now,
    }  # fmt: skip
    session.execute(db.upsert(session, Credit).values(values).on_conflict_do_nothing(index_elements=["shop_id", "code"]))


def _ours_in(session: Session, shop: uuid.UUID, order: Order) -> list[Credit]:
    """Codes of ours that the order names; ours are upper case, and WooCommerce lowers its codes."""
    if not order.discount_codes:
        return []
    named = [code.upper() for code in order.discount_codes[:50]]
    query = select(Credit).where(Credit.shop_id == shop, Credit.code.in_(named)).order_by(Credit.id)
    return list(session.execute(query).scalars())


def _next_code(session: Session, credit: Credit) -> str:
    """A code that nobody holds yet: the first of the credit's family, and a number. Two orders at once take turns."""
    family = select(Credit).where(Credit.refund_id == credit.refund_id).order_by(Credit.issued_at, Credit.id)
    first = session.execute(db.for_update(session, family)).scalars().all()[0]
    kept = select(func.count()).select_from(CreditUseRow).join(Credit, Credit.id == CreditUseRow.credit_id)
    uses: int = session.execute(kept.where(Credit.refund_id == credit.refund_id)).scalar_one()
    return f"{first.code}-{uses + 2}"


def _is_asked(session: Session, use_id: uuid.UUID) -> bool:
    """Whether a look is waiting that has not begun; one that has may have read too early."""
    open_row = (OutboxRow.done_at.is_(None), OutboxRow.parked_at.is_(None), OutboxRow.leased_until.is_(None))
    query = select(OutboxRow.id).where(OutboxRow.kind == Kind.REISSUE.value, OutboxRow.subject_id == use_id, *open_row)
    return session.execute(query.limit(1)).first() is not None
