"""How often something may be tried in a while: counted by what was tried and by whom, and only misses count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from connector import db
from connector.models import Budget

WINDOW: Final = timedelta(minutes=15)
KEPT: Final = timedelta(days=1)  # after that nobody asks any more
_BATCH: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Allowance:
    """`most` misses of `subject` within a window. `subject` is a digest: it names nobody."""

    subject: str
    most: int


def used_up(session: Session, allowances: Sequence[Allowance], *, now: datetime) -> bool:
    """Whether any of them has nothing left in this window."""
    query = select(Budget.subject, Budget.spent).where(
        Budget.subject.in_([each.subject for each in allowances]), Budget.window_began_at == _window(now)
    )
    spent = {row.subject: row.spent for row in session.execute(query)}
    return any(spent.get(each.subject, 0) >= each.most for each in allowances)


def spend(session: Session, allowances: Sequence[Allowance], *, now: datetime) -> None:
    """Count one miss of each, exactly, however many do so at once."""
    fresh = db.upsert(session, Budget)
    once_more = fresh.on_conflict_do_update(index_elements=["subject", "window_began_at"], set_={"spent": Budget.spent + 1})
    subjects = sorted({each.subject for each in allowances})  # everybody locks them in this order
    rows = [{"subject": subject, "window_began_at": _window(now), "spent": 1} for subject in subjects]
    if rows:
        session.execute(once_more.returning(Budget.subject), rows).all()


def forget(session: Session, *, before: datetime) -> int:
    """Delete at most `_BATCH` counts of windows that began before then."""
    old = (
        select(Budget.subject, Budget.window_began_at).where(Budget.window_began_at < before).order_by(Budget.window_began_at).limit(_BATCH)
    )
    mine = tuple_(Budget.subject, Budget.window_began_at).in_(old)
    return db.changed(session, delete(Budget).where(mine).execution_options(synchronize_session=False))


def _window(now: datetime) -> datetime:
    """When the window of this moment began: the same for every machine."""
    return now - (now - _EPOCH) % WINDOW
