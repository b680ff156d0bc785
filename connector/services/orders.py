"""Order rows: lock one, keep what was read, and say how it stands."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from connector import db
from connector.domain import codec
from connector.domain.orders import Buyer, Order, OrderRef, RefundRef
from connector.domain.platform import CreditOrder, RefundOrder
from connector.domain.rma import MoneyState
from connector.domain.standing import Booked, Ours
from connector.models import MoneyKind, OrderRow, Refund, Resolution
from connector.secrets import Vault

STALE_AFTER: Final = timedelta(seconds=30)


class StaleRead(Exception):
    """The order was read too long ago to decide about money. Read it again."""


def fresh_enough(read_began: datetime, *, now: datetime) -> None:
    """Raises `StaleRead` where the read began more than 30 s ago, by the database's clock."""
    if now - read_began > STALE_AFTER:
        raise StaleRead(f"the order was read at {read_began.isoformat()}")


def lock(session: Session, shop: uuid.UUID, ref: OrderRef) -> int:
    """Lock the order until the transaction ends, on both databases, making its row if it is missing.

    SQLAlchemy drops FOR UPDATE on SQLite without a word, so this is an upsert. Lock several in the order of their
    references. Returns how often the order was locked before, plus one.
    """
    wanted = db.upsert(session, OrderRow).values(shop_id=shop, ref=ref, lock_version=1)
    locked = wanted.on_conflict_do_update(index_elements=["shop_id", "ref"], set_={"lock_version": OrderRow.lock_version + 1}).returning(
        OrderRow.lock_version
    )
    version: int = session.execute(locked, execution_options={"populate_existing": True}).scalar_one()
    return version


def lock_all(session: Session, shop: uuid.UUID, refs: Collection[OrderRef]) -> None:
    """Lock several orders, in the order of their references."""
    wanted = db.upsert(session, OrderRow).on_conflict_do_update(
        index_elements=["shop_id", "ref"], set_={"lock_version": OrderRow.lock_version + 1}
    )
    rows = [{"shop_id": shop, "ref": ref, "lock_version": 1} for ref in sorted(set(refs))]
    if rows:
        session.execute(wanted.returning(OrderRow.ref), rows).all()


def keep(session: Session, shop: uuid.UUID, order: Order, *, read_began: datetime, vault: Vault) -> bool:
    """Keep a snapshot without its buyer. False where one stands whose read began later (database clock)."""
    return bool(keep_all(session, shop, [order], read_began=read_began, vault=vault))


def keep_all(session: Session, shop: uuid.UUID, orders: Collection[Order], *, read_began: datetime, vault: Vault) -> Collection[OrderRef]:
    """Keep several; those that were kept. Locks them in the order in which they are given."""
    fresh = db.upsert(session, OrderRow)
    older = or_(OrderRow.read_began_at.is_(None), OrderRow.read_began_at <= read_began)
    new = {name: fresh.excluded[name] for name in ("number", "snapshot", "read_began_at", "email_digest", "postal_digest")}
    kept = fresh.on_conflict_do_update(index_elements=["shop_id", "ref"], set_=new, where=older).returning(OrderRow.ref)
    rows = [
        {
            "shop_id": shop,
            "ref": order.ref,
            "lock_version": 0,
            "number": order.number,
            "snapshot": codec.write(replace(order, buyer=Buyer(country=order.buyer.country, customer=order.buyer.customer))),
            "read_began_at": read_began,
            "email_digest": vault.email_digest(order.buyer.email) if order.buyer.email else None,
            "postal_digest": vault.postal_digest(order.buyer.postal_code) if order.buyer.postal_code else None,
        }
        for order in orders
    ]
    return {OrderRef(ref) for ref in session.execute(kept, rows).scalars()} if rows else set()


def snapshot(session: Session, shop: uuid.UUID, ref: OrderRef) -> Order | None:
    """What was last read of an order, or None where it never was."""
    found = session.execute(select(OrderRow.snapshot).where(OrderRow.shop_id == shop, OrderRow.ref == ref)).scalar_one_or_none()
    return None if found is None else codec.read(found, Order)


def ours(session: Session, shop: uuid.UUID, ref: OrderRef, *, but: uuid.UUID | None = None) -> Sequence[Ours]:
    """Every money row of the order that stands, and every resolution that moved nothing but withheld something.

    A refused row stands too while another call of its decision does, until it is made anew: its units and its amount are
    still promised. `but` leaves one row out.
    """
    remade = select(Refund.made_again_from).where(Refund.made_again_from.is_not(None))
    promised = and_(Resolution.voided_at.is_(None), Refund.id.not_in(remade))
    query = select(Refund).join(Resolution, Resolution.id == Refund.resolution_id).where(Refund.shop_id == shop, Refund.order_ref == ref)
    rows = session.execute(query.where(or_(Refund.state != MoneyState.REFUSED, promised))).scalars()
    standing = [as_ours(row) for row in rows if row.id != but]
    empty = session.execute(
        select(Resolution).where(
            Resolution.shop_id == shop, Resolution.order_ref == ref, Resolution.voided_at.is_(None), Resolution.total == 0
        )
    ).scalars()
    return standing + [_empty(resolution) for resolution in empty]


def as_ours(row: Refund) -> Ours:
    """A money row as the order's arithmetic sees it."""
    told = instruction(row)
    return Ours(
        minor=row.minor,
        deducted=row.deducted,
        reference=None if row.platform_reference is None else RefundRef(row.platform_reference),
        key=row.id.hex,
        parts=told.parts if isinstance(told, RefundOrder) else (),
        lines=told.lines,
        charges=told.charges,
    )


def instruction(row: Refund) -> RefundOrder | CreditOrder:
    """What the row's bytes say is to be done."""
    if row.kind is MoneyKind.REFUND:
        return codec.read(row.instruction, RefundOrder)
    return codec.read(row.instruction, CreditOrder)


def _empty(resolution: Resolution) -> Ours:
    booked = codec.read(resolution.booked, Booked)
    return Ours(minor=0, deducted=resolution.deducted, key=resolution.id.hex, lines=booked.lines, charges=booked.charges)
