"""Alarms that stand until a person has seen them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from connector import db
from connector.models import Alarm
from connector.services import timeline


def standing(session: Session, shop: uuid.UUID) -> Sequence[Alarm]:
    """Those that nobody has cleared, oldest first."""
    query = select(Alarm).where(Alarm.shop_id == shop, Alarm.cleared_at.is_(None))
    return session.execute(query.order_by(Alarm.raised_at, Alarm.id)).scalars().all()


def facts(alarm: Alarm) -> Mapping[str, Any]:
    """What it is about."""
    found: dict[str, Any] = json.loads(alarm.facts)
    return found


def count(session: Session, shop: uuid.UUID) -> int:
    """How many stand."""
    found: int = session.execute(select(func.count()).where(Alarm.shop_id == shop, Alarm.cleared_at.is_(None))).scalar_one()
    return found


def clear(session: Session, shop: uuid.UUID, alarm: uuid.UUID, *, who: str, now: datetime) -> bool:
    """Somebody saw it, and did what it takes. False where it is not the shop's, or was cleared before."""
    mine = update(Alarm).where(Alarm.id == alarm, Alarm.shop_id == shop, Alarm.cleared_at.is_(None)).values(cleared_at=now, cleared_by=who)
    if db.changed(session, mine.execution_options(synchronize_session=False)) != 1:
        return False
    told = {"alarm": session.get_one(Alarm, alarm, populate_existing=True).kind.value}
    timeline.record(session, "alarm.cleared", shop=shop, rma=None, who=who, at=now, facts=told)
    return True
