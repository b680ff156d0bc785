"""Who works at a shop's desk: invited by address and role, signed in by a link that works once, gone the moment they are removed.

A used link stands for the visit that it began. Both rows are read at every request: nothing that a browser keeps outlives them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from connector import db, links
from connector.models import Role, StaffLink, StaffMember
from connector.secrets import Unreadable, Vault, canonical_email
from connector.services import budgets, mails, timeline
from connector.services.budgets import Allowance
from connector.services.mails import Event

VISIT_LIVES: Final = timedelta(hours=12)
LINKS_OF_AN_ADDRESS: Final = 3  # within a budget's window: nobody's mailbox is flooded (A77)
LINKS_OF_A_NETWORK: Final = 20
LINKS_KEPT: Final = timedelta(days=1)  # longer than any visit
_WHO: Final = "staff:"
_LONGEST_EMAIL: Final = 254  # characters (RFC 5321)
_BATCH: Final = 100


class NoAddress(ValueError):
    """Nobody can be reached by it."""


class NotStaff(LookupError):
    """Nobody with this address works at this desk."""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody at a shop's desk. `visit` is the link that they came by, where they are signed in."""

    id: uuid.UUID
    shop: uuid.UUID
    role: Role
    email: str = field(repr=False)
    since: datetime
    visit: uuid.UUID | None = None

    @property
    def who(self) -> str:
        """How the timeline names them: by an id, which says nothing once they are forgotten."""
        return f"{_WHO}{self.id.hex}"

    @property
    def name(self) -> str:
        """What colleagues call them: their address up to the @."""
        return self.email.partition("@")[0]


def invite(session: Session, shop: uuid.UUID, email: str, role: Role, *, by: str, vault: Vault, now: datetime) -> Member:
    """Let somebody in, back in, or in with another role. A link signs them in: `link`. Raises `NoAddress`."""
    mailbox = address(email)
    if not mailbox:
        raise NoAddress("type an e-mail address, such as kim@example.com")
    new = uuid.uuid4()
    values = {
        "id": new, "shop_id": shop, "email_digest": vault.email_digest(mailbox), "email": vault.encrypt("staff", shop.hex, mailbox),
        "role": role, "invited_at": now, "invited_by": by,
    }  # fmt: skip
    fresh = db.upsert(session, StaffMember).values(values)
    anew = {name: values[name] for name in ("email", "role", "invited_at", "invited_by")} | {"removed_at": None}
    session.execute(fresh.on_conflict_do_update(index_elements=["shop_id", "email_digest"], set_=anew))
    row = _row(session, shop, mailbox, vault)
    assert row is not None  # noqa: S101 - just written
    facts = {"staff": row.id.hex, "role": role.value}
    timeline.record(session, "staff.invited", shop=shop, rma=None, who=by, at=now, facts=facts)
    return _member(row, vault)


def link(session: Session, member: uuid.UUID, *, vault: Vault, now: datetime) -> str:
    """A fresh link's secret, which is not kept."""
    secret = links.secret()
    session.add(StaffLink(staff_id=member, digest=vault.digest("staff-link", secret), made_at=now))
    return secret


def ask(session: Session, shop: uuid.UUID, email: str, network: str, *, vault: Vault, now: datetime) -> None:
    """Mail a link to the address if it is invited and was not written to too often. The caller says the same either way."""
    mailbox = address(email)
    digest = vault.email_digest(mailbox or "nobody")
    subjects = ((f"desk:{shop.hex}:{digest}", LINKS_OF_AN_ADDRESS), (f"desk-network:{network}", LINKS_OF_A_NETWORK))
    allowed = [Allowance(vault.digest("budget", subject), most) for subject, most in subjects]
    budgets.spend(session, allowed, now=now)  # first: it takes the rows' locks, so that two at once are counted one after the other
    beyond = [Allowance(each.subject, each.most + 1) for each in allowed]
    row = None if not mailbox or budgets.used_up(session, beyond, now=now) else _row(session, shop, mailbox, vault)
    if row is not None and row.removed_at is None:
        secret = link(session, row.id, vault=vault, now=now)
        mails.to(session, Event.SIGN_IN, {"email": mailbox, "secret": secret}, shop=shop, vault=vault, now=now)


def redeem(session: Session, shop: uuid.UUID, secret: str, *, vault: Vault, now: datetime) -> Member | None:
    """Begin a visit with a link; None: it is not one of this desk, was used, is too old, or is of somebody who was removed."""
    digest, oldest = vault.digest("staff-link", secret), now - links.SIGN_IN_LIVES
    unused = (StaffLink.digest == digest, StaffLink.used_at.is_(None), StaffLink.ended_at.is_(None), StaffLink.made_at > oldest)
    here = select(StaffMember.id).where(StaffMember.shop_id == shop, StaffMember.removed_at.is_(None))
    mine = update(StaffLink).where(*unused, StaffLink.staff_id.in_(here)).values(used_at=now)
    if db.changed(session, mine.execution_options(synchronize_session=False)) != 1:
        return None
    begun = session.execute(select(StaffLink).where(StaffLink.digest == digest), execution_options={"populate_existing": True}).scalar_one()
    member = visiting(session, shop, begun.id, vault=vault, now=now)
    assert member is not None  # noqa: S101 - just begun
    timeline.record(session, "staff.signed_in", shop=shop, rma=None, who=member.who, at=now)
    return member


def visiting(session: Session, shop: uuid.UUID, visit: uuid.UUID, *, vault: Vault, now: datetime) -> Member | None:
    """Who came by this link, as they stand now; None: the visit is over, or not at this desk."""
    standing = (StaffLink.ended_at.is_(None), StaffLink.used_at > now - VISIT_LIVES, StaffMember.removed_at.is_(None))
    query = select(StaffMember).join(StaffLink, StaffLink.staff_id == StaffMember.id)
    row = session.execute(query.where(StaffLink.id == visit, StaffMember.shop_id == shop, *standing)).scalar_one_or_none()
    return None if row is None else _member(row, vault, visit)


def leave(session: Session, visit: uuid.UUID, *, now: datetime) -> None:
    """The visit is over, for every browser that keeps its cookie."""
    ended = update(StaffLink).where(StaffLink.id == visit, StaffLink.ended_at.is_(None)).values(ended_at=now)
    session.execute(ended.execution_options(synchronize_session=False))


def remove(session: Session, shop: uuid.UUID, email: str, *, by: str, vault: Vault, now: datetime) -> Member:
    """From now on they are nobody here: links that went out and visits that began are over. Raises `NotStaff`."""
    row = _row(session, shop, address(email), vault)
    if row is None or row.removed_at is not None:
        raise NotStaff
    row.removed_at = now
    ended = update(StaffLink).where(StaffLink.staff_id == row.id, StaffLink.ended_at.is_(None)).values(ended_at=now)
    session.execute(ended.execution_options(synchronize_session=False))
    timeline.record(session, "staff.removed", shop=shop, rma=None, who=by, at=now, facts={"staff": row.id.hex})
    return _member(row, vault)


def forget(session: Session, *, before: datetime) -> int:
    """Delete at most `_BATCH` links that were made before then."""
    old = select(StaffLink.id).where(StaffLink.made_at < before).order_by(StaffLink.made_at).limit(_BATCH)
    return db.changed(session, delete(StaffLink).where(StaffLink.id.in_(old)).execution_options(synchronize_session=False))


def of(session: Session, shop: uuid.UUID, *, vault: Vault) -> Sequence[Member]:
    """Everybody at a desk, in the order in which they came."""
    query = select(StaffMember).where(StaffMember.shop_id == shop, StaffMember.removed_at.is_(None))
    return [_member(row, vault) for row in session.execute(query.order_by(StaffMember.invited_at, StaffMember.id)).scalars()]


def named(session: Session, shop: uuid.UUID, whos: Sequence[str], *, vault: Vault) -> dict[str, Member]:
    """The members behind what the timeline names `staff:…`, removed ones too."""
    ids = {uuid.UUID(hex=who.removeprefix(_WHO)) for who in whos if who.startswith(_WHO)}
    if not ids:
        return {}
    rows = session.execute(select(StaffMember).where(StaffMember.shop_id == shop, StaffMember.id.in_(ids))).scalars()
    return {member.who: member for member in (_member(row, vault) for row in rows)}


def works_here(session: Session, member: uuid.UUID) -> bool:
    """Whether they were not removed."""
    return session.execute(select(StaffMember.id).where(StaffMember.id == member, StaffMember.removed_at.is_(None))).first() is not None


def address(text: str) -> str:
    """The one form of all spellings of a mailbox; empty where nobody can have meant one."""
    mailbox = canonical_email(text) if len(text) <= _LONGEST_EMAIL else ""
    local, _, domain = mailbox.rpartition("@")
    fits = local and "@" not in local and "." in domain and mailbox.isprintable() and not any(sign.isspace() for sign in mailbox)
    return mailbox if fits else ""


def masked(email: str) -> str:
    """Enough for who knows it, and nothing for who does not: `k…@example.com`."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…@{domain}"


def _row(session: Session, shop: uuid.UUID, mailbox: str, vault: Vault) -> StaffMember | None:
    mine = (StaffMember.shop_id == shop, StaffMember.email_digest == vault.email_digest(mailbox or "nobody"))
    found: StaffMember | None = session.execute(
        select(StaffMember).where(*mine), execution_options={"populate_existing": True}
    ).scalar_one_or_none()
    return found


def _member(row: StaffMember, vault: Vault, visit: uuid.UUID | None = None) -> Member:
    try:
        email = vault.decrypt("staff", row.shop_id.hex, row.email)
    except Unreadable:  # its key is gone: they still may work here, and a new invitation names them again
        email = ""
    return Member(row.id, row.shop_id, row.role, email, row.invited_at, visit)
