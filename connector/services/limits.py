"""What a machine may give away alone: the amount above which a person confirms, and the daily cap per currency."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import update
from sqlalchemy.orm import Session

from connector import db
from connector.domain.money import Money
from connector.domain.terms import Limit, Limits, beyond
from connector.models import Resolution, Shop, Spending


class NeedsConfirmation(Exception):
    """A limit of the shop is passed, and no second person has confirmed."""

    def __init__(self, passed: tuple[Limit, ...], amount: Money, given_today: int) -> None:
        """`given_today`: minor units of the same currency reserved earlier on the shop's day."""
        super().__init__(f"{amount} passes {', '.join(passed)}")
        self.passed, self.amount, self.given_today = passed, amount, given_today


def spend(session: Session, resolution: Resolution, limits: Limits, *, time_zone: str) -> tuple[Limit, ...]:
    """Count a resolution against its shop's day and say which limits it passes with a second person's word.

    The day's row is locked until the transaction ends, so two resolutions at once cannot both stay below the cap.

    Raises:
        NeedsConfirmation: a limit is passed and nobody confirmed.
    """
    amount = Money(resolution.total + resolution.bonus, resolution.currency)
    given = count(session, resolution, time_zone=time_zone)
    passed = beyond(limits, amount, given_today=given - amount.minor)
    if passed and resolution.confirmed_by in (None, resolution.decided_by):  # a second person, not the same one twice
        raise NeedsConfirmation(passed, amount, given - amount.minor)
    return passed


def count(session: Session, resolution: Resolution, *, time_zone: str) -> int:
    """Count a resolution against its shop's day, whatever the limits say. Returns the day's sum with it, minor units."""
    minor, day = resolution.total + resolution.bonus, _day(resolution.decided_at, time_zone)
    fresh = db.upsert(session, Spending).values(shop_id=resolution.shop_id, day=day, currency=resolution.currency, minor=minor)
    counted = fresh.on_conflict_do_update(index_elements=["shop_id", "day", "currency"], set_={"minor": Spending.minor + minor})
    given: int = session.execute(counted.returning(Spending.minor), execution_options={"populate_existing": True}).scalar_one()
    return given


def release(session: Session, resolution: Resolution) -> None:
    """The resolution did not come about: its day may give as much again.

    Where the shop moved to another time zone since, that day may have another name, with less on it: then it keeps what it has.
    """
    day, given = _day(resolution.decided_at, session.get_one(Shop, resolution.shop_id).time_zone), resolution.total + resolution.bonus
    mine = (Spending.shop_id == resolution.shop_id, Spending.day == day, Spending.currency == resolution.currency)
    statement = update(Spending).where(*mine, Spending.minor >= given).values(minor=Spending.minor - given)
    session.execute(statement.execution_options(synchronize_session=False))


def given_on(session: Session, shop: uuid.UUID, day: date, currency: str) -> int:
    """Minor units reserved on a day of the shop."""
    found = session.get(Spending, (shop, day, currency))
    return 0 if found is None else found.minor


def _day(at: datetime, time_zone: str) -> date:
    return at.astimezone(ZoneInfo(time_zone)).date()
