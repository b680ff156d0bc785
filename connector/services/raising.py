"""Raise an alarm, with its entry in the timeline: one for each shop, kind and subject."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from connector import db
from connector.domain import codec
from connector.models import Alarm, AlarmKind
from connector.services import timeline
from connector.services.timeline import Fact


def raise_alarm(
    session: Session,
    kind: AlarmKind,
    subject: str,
    facts: Mapping[str, Fact],
    *,
    shop: uuid.UUID,
    now: datetime,
    rma: uuid.UUID | None = None,
    again: bool = False,
    entry: Mapping[str, Fact] | None = None,
) -> bool:
    """True where it was raised: one that stands is not raised again, and one that a person has cleared only if `again` says so.

    `again` is for what lasts and may come back; what happened once is told once. `entry` is what the timeline is told, where that is
    not just the facts.
    """
    anew = {"facts": codec.write(facts), "raised_at": now, "cleared_at": None, "cleared_by": None}
    row = db.upsert(session, Alarm).values({"id": uuid.uuid4(), "shop_id": shop, "kind": kind, "subject": subject, **anew})
    key = ["shop_id", "kind", "subject"]
    once = row.on_conflict_do_nothing(index_elements=key)
    cleared = row.on_conflict_do_update(index_elements=key, set_=anew, where=Alarm.cleared_at.is_not(None))
    raised = db.changed(session, cleared if again else once) == 1
    if raised:
        told = facts if entry is None else entry
        timeline.record(session, f"alarm.{kind.value}", shop=shop, rma=rma, who="machine", at=now, facts=told)
    return raised
