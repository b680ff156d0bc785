"""A guest is known by a number and the e-mail address that it belongs to; whoever guesses too much is answered by mail alone.

The number is an order's, or a return's. Every miss is alike: nobody learns whether there is such a number. A used-up budget never locks
anybody out: from then on a code goes to the address itself, and only to that.
"""

from __future__ import annotations

import secrets
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from connector import db
from connector.domain import codec
from connector.domain import number as numbers
from connector.domain.orders import Order, OrderRef
from connector.models import MailedCode, OrderRow, Rma
from connector.secrets import Vault, canonical_email
from connector.services import mails, orders
from connector.services.budgets import Allowance
from connector.services.mails import Event

OF_A_NUMBER: Final = 5  # misses within a budget's window
OF_A_NETWORK: Final = 20
OF_A_SHOP: Final = 600
CODE_LIVES: Final = timedelta(minutes=15)
CODE_TRIES: Final = 5
CODES_AN_HOUR: Final = 3  # of one order: nobody's mailbox is flooded (A77)
CODES_KEPT: Final = timedelta(days=1)
_LONGEST_NUMBER: Final = 64  # characters
_LONGEST_EMAIL: Final = 254  # characters (RFC 5321)
_NOBODYS: Final = "\x7f"  # no shop numbers an order like this
_MOST: Final = 10
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What a guest typed, in the one form of all its spellings; empty where nobody can have meant it."""

    number: str
    email: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a number and an address belong to: orders, newest first, and the return, where the number was a return's."""

    orders: tuple[Order, ...]
    rma: str | None = None


def asked(number: str, email: str) -> Asked:
    """`#1001`, ` 1001` and full-width digits are one number; so are the spellings of one mailbox (A33, A34)."""
    bare = _plain(number, _LONGEST_NUMBER).removeprefix("#").strip()
    mailbox = canonical_email(_plain(email, _LONGEST_EMAIL))
    fits = "@" in mailbox.strip("@") and mailbox.isprintable() and not any(sign.isspace() for sign in mailbox)
    return Asked(bare, mailbox if fits else "")


def allowances(shop: uuid.UUID, wish: Asked, network: str, *, vault: Vault) -> tuple[Allowance, ...]:
    """Whose budgets a miss spends: the number's, the network's, the shop's. No number was tried where none was typed."""
    subjects = [(f"network:{network}", OF_A_NETWORK), (f"shop:{shop.hex}", OF_A_SHOP)]
    if wish.number:
        one = numbers.read(wish.number) or wish.number.casefold()  # however a return's number is grouped, it has one budget
        subjects.append((f"number:{shop.hex}:{one}", OF_A_NUMBER))
    return tuple(Allowance(vault.digest("budget", subject), most) for subject, most in subjects)


def find(session: Session, shop: uuid.UUID, wish: Asked, *, vault: Vault) -> Found | None:
    """What belongs to the number and the address together, or None. Whatever was typed, the same questions are asked."""
    digest = vault.email_digest(wish.email or _NOBODYS)
    query = select(OrderRow.snapshot).where(OrderRow.shop_id == shop, OrderRow.number.in_(_forms(wish.number)))
    kept = session.execute(query.where(OrderRow.email_digest == digest, OrderRow.gone_at.is_(None)).limit(_MOST)).scalars().all()
    rma = _return(session, shop, numbers.read(wish.number) or _NOBODYS, digest)
    found = [codec.read(snapshot, Order) for snapshot in kept if snapshot is not None]
    if rma is not None and (order := orders.snapshot(session, shop, OrderRef(rma.order_ref))) is not None:
        return Found((order,), rma.number)
    found.sort(key=lambda order: order.placed_at.timestamp() if order.placed_at else 0, reverse=True)
    return Found(tuple(found)) if found else None


def send_code(
    session: Session,
    shop: uuid.UUID,
    wish: Asked,
    *,
    vault: Vault,
    now: datetime,
    random_below: Callable[[int], int] = secrets.randbelow,
) -> None:
    """Mail a code to the address, if it is the one that the number belongs to. The caller says the same either way."""
    found = find(session, shop, wish, vault=vault)
    if found is None:
        return
    ref = found.orders[0].ref
    orders.lock(session, shop, ref)
    recent = select(func.count()).where(MailedCode.shop_id == shop, MailedCode.order_ref == ref)
    if session.execute(recent.where(MailedCode.made_at > now - timedelta(hours=1))).scalar_one() >= CODES_AN_HOUR:
        return
    code = f"{random_below(1_000_000):06d}"
    session.add(MailedCode(shop_id=shop, order_ref=ref, digest=_digest(vault, shop, ref, code), made_at=now))
    mails.to(session, Event.CODE, {"email": wish.email, "code": code}, shop=shop, vault=vault, now=now)


def redeem(session: Session, shop: uuid.UUID, wish: Asked, code: str, *, vault: Vault, now: datetime) -> Found | None:
    """What a mailed code opens, once; None: it is wrong, too old, used, or was tried too often."""
    found = find(session, shop, wish, vault=vault)
    if found is None:
        return None
    ref = found.orders[0].ref
    orders.lock(session, shop, ref)
    live = (
        MailedCode.shop_id == shop,
        MailedCode.order_ref == ref,
        MailedCode.used_at.is_(None),
        MailedCode.tries < CODE_TRIES,
        MailedCode.made_at > now - CODE_LIVES,
    )
    tried = update(MailedCode).where(*live).values(tries=MailedCode.tries + 1).returning(MailedCode.id, MailedCode.digest)
    rows = session.execute(tried.execution_options(synchronize_session=False)).all()
    typed = _digest(vault, shop, ref, _plain(code, _LONGEST_NUMBER).replace(" ", "").replace("-", ""))
    mine = [row.id for row in rows if compare_digest(row.digest, typed)]
    if mine:
        session.execute(update(MailedCode).where(MailedCode.id.in_(mine)).values(used_at=now).execution_options(synchronize_session=False))
    return found if mine else None


def forget(session: Session, *, before: datetime) -> int:
    """Delete at most `_BATCH` codes that were made before then."""
    old = select(MailedCode.id).where(MailedCode.made_at < before).order_by(MailedCode.made_at).limit(_BATCH)
    return db.changed(session, delete(MailedCode).where(MailedCode.id.in_(old)).execution_options(synchronize_session=False))


def _return(session: Session, shop: uuid.UUID, number: str, digest: str) -> Rma | None:
    theirs = (OrderRow.shop_id == Rma.shop_id, OrderRow.ref == Rma.order_ref, OrderRow.email_digest == digest)
    query = select(Rma).join(OrderRow, theirs[0] & theirs[1] & theirs[2]).where(Rma.shop_id == shop, Rma.number == number)
    return session.execute(query).scalar_one_or_none()


def _forms(number: str) -> Sequence[str]:
    """How a shop may have written the number."""
    cases = (number, number.upper(), number.lower())
    return sorted({f"{sign}{case}" for sign in ("", "#") for case in cases}) if number else [_NOBODYS]


def _plain(text: str, longest: int) -> str:
    """The text without what a paste brings along; empty where it is too long, or holds what nobody types."""
    if len(text) > longest * 2:
        return ""
    seen = "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf").strip()
    return seen if len(seen) <= longest and seen.isprintable() else ""


def _digest(vault: Vault, shop: uuid.UUID, ref: OrderRef, code: str) -> str:
    return vault.digest("code", f"{shop.hex}:{ref}:{code}")
