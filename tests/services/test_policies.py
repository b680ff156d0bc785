"""Y1, Y7: versions of a policy, the one in force, and the one that an RMA is pinned to."""

from __future__ import annotations

import uuid
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from connector import policy_text
from connector.db import Database
from connector.domain.rma import RmaState
from connector.models import Policy, Rma
from connector.policy_text import FaultyPolicy
from connector.services import desk, policies
from connector.services.policies import FailingTests, NoPolicy
from tests.services.acts import at_once, decide, everything, looking, placed, state_of
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

DAY = date(2026, 3, 2)
KIND = "format = 1\nexpires_after_days = 10\n[authorise]\nautomatic = true\n"
STRICT = "format = 1\nexpires_after_days = 90\n[restocking_fee]\npercent = 50\n[window]\ndays = 0\n"


def publish(world: World, text: str, *, day: date = DAY) -> uuid.UUID:
    with world.db.transaction() as session:
        return policies.publish(session, world.shop.id, text, effective_from=day, who="owner", now=world.clock.now)


def days_in_force(world: World, day: date) -> int:
    with world.db.reading() as session:
        return policies.in_force(session, world.shop.id, day)[1].window.days


def window(days: int) -> str:
    return f"format = 1\n[window]\ndays = {days}\n"


def test_y1_a_version_is_numbered_dated_and_signed_and_never_changes(make_world: MakeWorld) -> None:
    world = make_world(policy=window(1))
    first = everything(world.db)["policies"]

    publish(world, window(2))

    rows = sorted(everything(world.db)["policies"], key=lambda row: row["version"])
    assert rows[:1] == first
    assert [(row["version"], row["text"], row["published_by"]) for row in rows] == [(1, window(1), "owner"), (2, window(2), "owner")]


def test_y1_a_version_rules_from_its_day_on(make_world: MakeWorld) -> None:
    world = make_world(policy=window(1))

    publish(world, window(2), day=DAY + timedelta(days=2))
    publish(world, window(3), day=DAY + timedelta(days=1))

    assert [days_in_force(world, DAY + timedelta(days=n)) for n in (0, 1, 2, 300)] == [1, 3, 2, 2]


def test_y1_of_two_versions_of_one_day_the_later_rules(make_world: MakeWorld) -> None:
    world = make_world(policy=window(1))

    publish(world, window(2))
    publish(world, window(3))

    assert days_in_force(world, DAY) == 3


def test_before_the_first_version_there_is_no_policy(world: World) -> None:
    with pytest.raises(NoPolicy), world.db.reading() as session:
        policies.in_force(session, world.shop.id, date(2025, 12, 31))


def test_another_shops_policy_is_none_of_ours(make_world: MakeWorld) -> None:
    first, second = make_world(policy=window(1)), make_world(policy=window(2))

    assert (days_in_force(first, DAY), days_in_force(second, DAY)) == (1, 2)


def test_y1_two_publications_at_once_are_two_versions(world: World) -> None:
    made = at_once(*[lambda days=days: publish(world, window(days)) for days in range(4)])

    with world.db.reading() as session:
        versions = session.execute(select(Policy.version).order_by(Policy.version)).scalars().all()
    assert versions == [1, 2, 3, 4, 5]
    assert len(set(made)) == 4


# ── What cannot be published ──


def test_y7_a_broken_text_is_refused_with_its_lines_and_the_live_one_stays(world: World) -> None:
    before = everything(world.db)

    with pytest.raises(FaultyPolicy) as refused:
        publish(world, "format = 1\n[window]\ndays = -1\nstart = 3\n")

    assert [fault.line for fault in refused.value.faults] == [3, 4]
    assert everything(world.db) == before


def test_y7_a_text_whose_own_tests_fail_is_refused_and_the_live_one_stays(world: World) -> None:
    text = window(3) + '[[test]]\nname = "four days"\ntoday = 2026-03-05\ndelivered = 2026-03-01\nexpect = "allow"\n'
    before = everything(world.db)

    with pytest.raises(FailingTests) as refused:
        publish(world, text)

    assert refused.value.failures == ("four days: expect should be allow, but is refuse",)
    assert everything(world.db) == before


def test_y7_a_text_whose_tests_hold_is_published(world: World) -> None:
    publish(world, policy_text.default_text())

    assert days_in_force(world, DAY) == 30


# ── Pinned ──


def test_y1_publishing_a_new_version_changes_no_open_return(make_world: MakeWorld) -> None:
    world = make_world(policy=KIND)
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    before = everything(world.db)

    publish(world, STRICT)

    after = everything(world.db)
    assert {table: rows for table, rows in after.items() if table != "policies"} == {
        table: rows for table, rows in before.items() if table != "policies"
    }
    assert looking(world, rma, order).total == 1200
    decide(world, rma, order, 1200)


def test_y1_a_request_is_authorised_later_as_the_version_said_that_judged_it(make_world: MakeWorld) -> None:
    world = make_world(policy=KIND.replace("true", "false"))
    rma = world.requested(placed(world, an_order()), {"line-1": 1})
    publish(world, STRICT)

    with world.db.transaction() as session:
        desk.authorise(session, rma, who="sam", now=START)

    with world.db.reading() as session:
        assert session.get_one(Rma, rma).expires_on == DAY + timedelta(days=10)
    assert state_of(world, rma) is RmaState.AUTHORISED


def test_y1_a_new_return_is_judged_by_the_new_version(make_world: MakeWorld) -> None:
    world = make_world(policy=KIND)
    order = placed(world, an_order())
    old = world.received(order, {"line-1": 1})
    newest = publish(world, STRICT)

    new = world.requested(order, {"line-1": 1})

    with world.db.reading() as session:
        assert session.get_one(Rma, new).policy_id == newest != session.get_one(Rma, old).policy_id
        assert policies.pinned(session, newest).restocking.percent == 50


def test_a_version_is_read_from_its_own_row(database: Database, make_world: MakeWorld) -> None:
    world = make_world(policy=KIND)

    with database.reading() as session:
        policy, terms = policies.in_force(session, world.shop.id, DAY)
        assert policies.pinned(session, policy) == terms
        assert terms.expiry_days == 10
