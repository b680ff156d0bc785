"""An alarm is raised once for each subject, with an entry in the timeline; what may come back is raised again once it was cleared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from connector.domain import codec
from connector.models import Alarm, AlarmKind, Entry, EntryText
from connector.services.raising import raise_alarm
from connector.services.timeline import Fact
from tests.world import World


@dataclass(slots=True)
class Desk:
    """A shop's alarms, and what its timeline tells of them."""

    world: World

    def hears(self, n: int, *, subject: str = "x", again: bool = False, entry: dict[str, Fact] | None = None) -> bool:
        with self.world.db.transaction() as session:
            now = self.world.db.now(session)
            shop = self.world.shop.id
            return raise_alarm(session, AlarmKind.DELIVERIES_OFF, subject, {"n": n}, shop=shop, now=now, again=again, entry=entry)

    def clears(self) -> None:
        self.world.clock.advance(timedelta(seconds=1))
        with self.world.db.transaction() as session:
            session.execute(update(Alarm).values(cleared_at=self.world.clock.now, cleared_by="sam"))

    def standing(self) -> list[object]:
        with self.world.db.reading() as session:
            rows = session.execute(select(Alarm).where(Alarm.cleared_at.is_(None)).order_by(Alarm.subject)).scalars()
            return [codec.read(row.facts, dict[str, int]) for row in rows if row.cleared_by is None]

    def told(self) -> list[object]:
        with self.world.db.reading() as session:
            texts = select(EntryText.text).join(Entry, Entry.id == EntryText.entry_id).where(Entry.what == "alarm.deliveries_off")
            return [json.loads(text) for text in session.execute(texts.order_by(Entry.happened_at, Entry.id)).scalars()]


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_f38_one_that_stands_is_not_raised_again_and_another_subject_is_another(desk: Desk) -> None:
    assert [desk.hears(1, again=True), desk.hears(2, again=True), desk.hears(3), desk.hears(4, subject="y")] == [True, False, False, True]

    assert desk.standing() == [{"n": 1}, {"n": 4}]
    assert desk.told() == [{"n": 1}, {"n": 4}]


def test_what_happened_once_is_told_once_also_after_it_was_cleared(desk: Desk) -> None:
    desk.hears(1)
    desk.clears()

    assert not desk.hears(2)
    assert (desk.standing(), desk.told()) == ([], [{"n": 1}])


def test_what_comes_back_is_raised_anew_once_it_was_cleared(desk: Desk) -> None:
    desk.hears(1, again=True)
    desk.clears()

    assert desk.hears(2, again=True)
    assert (desk.standing(), desk.told()) == ([{"n": 2}], [{"n": 1}, {"n": 2}])


def test_the_timeline_may_be_told_more_than_the_alarm_says(desk: Desk) -> None:
    desk.hears(1, entry={"n": 1, "row": "r"})

    assert (desk.standing(), desk.told()) == ([{"n": 1}], [{"n": 1, "row": "r"}])
