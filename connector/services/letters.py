"""What a message says: gathered when it is handed over, so that it is true then. Personal, and never kept."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain import codec
from connector.domain.money import Money
from connector.domain.orders import Order, OrderRef, Product
from connector.domain.platform import Contact, CreditOrder
from connector.domain.rma import RmaState
from connector.models import ContactRow, Entry, EntryText, Mail, ReceiptRow, Refund, Rma, Shop, ShopStatus
from connector.secrets import Unreadable, Vault
from connector.services import links, orders, rmas, shops


class Event(StrEnum):
    """What a message is about."""

    REQUESTED = "requested"
    AUTHORISED = "authorised"
    DECLINED = "declined"
    RECEIVED = "received"
    REFUNDED = "refunded"
    CREDITED = "credited"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CODE = "code"  # to whoever looks for an order: prove that this mailbox is yours
    SIGN_IN = "sign_in"  # to a member of staff


@dataclass(frozen=True, slots=True)
class Item:
    """What comes back, as its shopper knows it."""

    title: str
    variant: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message with everything that it says. `secret` is a link's, `code` that of a store credit or of a look-up."""

    event: Event
    name: str  # its Message-ID, without a host
    at: datetime
    attempt: int
    email: str = field(repr=False)
    shop: str
    handle: str
    number: str = ""
    order: str = ""
    items: tuple[Item, ...] = ()
    expires_on: date | None = None
    why: str = field(default="", repr=False)
    amount: Money | None = None
    bonus: Money | None = None
    by_hand: bool = False  # a person answered for the payment: nobody but the shop knows which way it went
    code: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    @property
    def worth(self) -> Money | None:
        """Amount and bonus together."""
        if self.amount is None or self.bonus is None:
            return self.amount
        return Money(self.amount.minor + self.bonus.minor, self.amount.currency)


# What these say holds while the case stands there: "send your parcel" must not reach whoever has cancelled.
_TRUE_WHILE: Final[Mapping[Event, RmaState]] = {
    Event.REQUESTED: RmaState.REQUESTED,
    Event.AUTHORISED: RmaState.AUTHORISED,
    Event.RECEIVED: RmaState.RECEIVED,
    Event.EXPIRED: RmaState.EXPIRED,
}


def overtaken(session: Session, mail: Mail) -> bool:
    """Whether the case has moved on since, so that the message would be false."""
    state = _TRUE_WHILE.get(Event(mail.event))
    return state is not None and mail.rma_id is not None and session.get_one(Rma, mail.rma_id).state is not state


def letter(session: Session, mail: Mail, *, vault: Vault, now: datetime) -> Letter | None:
    """The message of a row; None: there is nobody to write to (any more)."""
    shop = session.get_one(Shop, mail.shop_id)
    if shop.status is ShopStatus.UNINSTALLED or shop.handle is None:
        return None
    sealed, rma = _sealed(mail, vault), None if mail.rma_id is None else session.get_one(Rma, mail.rma_id)
    email = sealed.get("email") or ("" if rma is None else _contact(session, rma, vault))
    if not email:
        return None
    secret = sealed.get("secret") or ("" if rma is None else links.mailed(session, rma.id, mail.id, vault=vault, now=now))
    plain = Letter(
        event=Event(mail.event),
        name=mail.message_id,
        at=mail.made_at,
        attempt=mail.attempt + 1,
        email=email,
        shop=shops.called(shop),
        handle=shop.handle,
        code=sealed.get("code", ""),
        secret=secret,
    )
    return _about_money(session, plain if rma is None else _about(session, rma, plain), mail.subject_id)


def _sealed(mail: Mail, vault: Vault) -> dict[str, str]:
    if mail.sealed is None:
        return {}
    try:
        found: dict[str, str] = json.loads(vault.decrypt("mail", mail.id.hex, mail.sealed))
    except Unreadable:  # its key is gone: nobody can be reached by it
        return {}
    return found


def _contact(session: Session, rma: Rma, vault: Vault) -> str:
    row = session.get(ContactRow, rma.id)
    if row is None or row.sealed is None:
        return ""
    try:
        return codec.read(vault.decrypt("contact", rma.id.hex, row.sealed).encode(), Contact).email
    except Unreadable:
        return ""


def _about(session: Session, rma: Rma, plain: Letter) -> Letter:
    order = orders.snapshot(session, rma.shop_id, OrderRef(rma.order_ref))
    return replace(
        plain,
        number=rma.number,
        order=order.number if order else "",
        items=_items(session, rma, order),
        expires_on=rma.expires_on,
        why=_why(session, rma) if plain.event is Event.DECLINED else "",
    )


def _items(session: Session, rma: Rma, order: Order | None) -> tuple[Item, ...]:
    found: list[Item] = []
    for line in rmas.lines(session, rma.id):
        known = None if order is None else next((one for one in order.lines if one.id == line.line_ref), None)
        product = Product() if known is None else known.product
        found.append(Item(product.title, product.variant, line.quantity))
    return tuple(found)


def _why(session: Session, rma: Rma) -> str:
    """The reason that staff gave for the latest refusal; empty where there is none, or it was erased."""
    query = select(EntryText.text).join(Entry, Entry.id == EntryText.entry_id).where(Entry.rma_id == rma.id, Entry.what == "rma.decline")
    texts: Sequence[str] = session.execute(query.order_by(Entry.happened_at.desc(), Entry.id.desc()).limit(1)).scalars().all()
    return str(json.loads(texts[0]).get("why") or "") if texts else ""


def _about_money(session: Session, plain: Letter, row_id: uuid.UUID | None) -> Letter:
    if row_id is None:
        return plain
    told = orders.instruction(session.get_one(Refund, row_id))
    if isinstance(told, CreditOrder):
        return replace(plain, amount=told.amount, bonus=told.bonus, code=told.code)
    by_machine = select(ReceiptRow.id).where(ReceiptRow.refund_id == row_id, ReceiptRow.recorded_by == "machine").limit(1)
    return replace(plain, amount=told.amount, by_hand=session.execute(by_machine).first() is None)
