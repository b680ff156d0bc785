"""Policy versions: publish one, find the one in force, read the one that an RMA is pinned to."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from functools import lru_cache

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from connector import db, policy_text
from connector.domain.terms import Policy as Terms
from connector.models import Policy, Shop


class NoPolicy(LookupError):
    """The shop has no policy in force on that day."""


class FailingTests(ValueError):
    """The policy's own test cases do not hold: the version that is live stays."""

    def __init__(self, failures: tuple[str, ...]) -> None:
        """One sentence for each failing case."""
        super().__init__("; ".join(failures))
        self.failures = failures


def publish(session: Session, shop: uuid.UUID, text: str, *, effective_from: date, who: str, now: datetime) -> uuid.UUID:
    """Publish the next version. Versions never change; an RMA stays with the one that judged it.

    Raises:
        FaultyPolicy: with every fault of the text, by line.
        FailingTests: its own test cases do not hold.
    """
    policy_text.read(text)
    if failures := policy_text.failing_tests(text):
        raise FailingTests(tuple(str(failure) for failure in failures))
    session.execute(db.for_update(session, select(Shop.id).where(Shop.id == shop)))  # one version at a time
    latest = session.execute(select(func.max(Policy.version)).where(Policy.shop_id == shop)).scalar_one()
    row = Policy(
        id=uuid.uuid4(),
        shop_id=shop,
        version=(latest or 0) + 1,
        text=text,
        effective_from=effective_from,
        published_at=now,
        published_by=who,
    )
    session.add(row)
    session.flush()
    return row.id


def in_force(session: Session, shop: uuid.UUID, day: date) -> tuple[uuid.UUID, Terms]:
    """The latest version that took effect on or before `day` (of the shop's time zone). Raises `NoPolicy`."""
    query = select(Policy).where(Policy.shop_id == shop, Policy.effective_from <= day)
    row = session.execute(query.order_by(Policy.effective_from.desc(), Policy.version.desc()).limit(1)).scalar_one_or_none()
    if row is None:
        raise NoPolicy(f"no policy in force on {day}")
    return row.id, _read(row.text)


def pinned(session: Session, policy: uuid.UUID) -> Terms:
    """The version that judged an RMA."""
    return _read(session.get_one(Policy, policy).text)


@lru_cache(maxsize=256)
def _read(text: str) -> Terms:
    return policy_text.read(text)
