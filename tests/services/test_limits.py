"""M9: above what amount a second person confirms, and what may go out on one day of the shop."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial

import pytest

from connector.domain.orders import Order
from connector.domain.rma import MoneyState, RmaState
from connector.domain.terms import Limit
from connector.domain.wanted import Payout
from connector.models import Resolution
from connector.services import limits, policies, receipts, shops
from connector.services.limits import NeedsConfirmation
from connector.services.shops import keys_of
from tests.services.acts import PLAIN, at_once, decide, everything, facts_of, in_cash, kinds, placed, state_of, told, two_tenders
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

AUTOMATIC = "format = 1\n[authorise]\nautomatic = true\n"
ABOVE = AUTOMATIC + '[limits]\nconfirm_above = { EUR = "12.00" }\n'
CAP = AUTOMATIC + '[limits]\ndaily_cap = { EUR = "30.00" }\n'
BONUS = CAP + "[store_credit]\nbonus_percent = 50\n"
DOLLARS = AUTOMATIC + '[limits]\nconfirm_above = { USD = "1000.00" }\n'
CONFIRMED = replace(PLAIN, confirmed_by="olga")
TODAY = date(2026, 3, 2)


def ready(world: World, ref: str = "1001", units: int = 1, *, bought: int = 3) -> tuple[uuid.UUID, Order]:
    """A return of so many units at 12.00, received and found to be fine."""
    order = placed(world, an_order(ref, units=bought, net=1000 * bought, tax=200 * bought))
    return world.received(order, {"line-1": units}), order


def given(world: World, day: date = TODAY) -> int:
    with world.db.reading() as session:
        return limits.given_on(session, world.shop.id, day, "EUR")


def living_in(world: World, zone: str) -> None:
    """The shop is in another time zone."""
    with world.db.transaction() as session:
        shop = shops.connect(
            session, platform="toy", domain=world.shop.domain, credentials={}, vault=world.vault, time_zone=zone, now=START
        )
        world.shop = keys_of(session, shop)


# ── Confirm above ──


def test_m9_an_amount_at_the_limit_needs_nobody(make_world: MakeWorld) -> None:
    world = make_world(policy=ABOVE)
    rma, order = ready(world)

    decide(world, rma, order, 1200)

    assert "limit.confirmed" not in [what for what, _, _ in told(world.db)]


def test_m9_above_the_limit_nothing_is_given_before_a_second_person_confirms(make_world: MakeWorld) -> None:
    world = make_world(policy=ABOVE)
    rma, order = ready(world, units=2)
    before = everything(world.db)

    with pytest.raises(NeedsConfirmation) as asked:
        decide(world, rma, order, 2400)

    assert (asked.value.passed, asked.value.amount.minor, asked.value.given_today) == ((Limit.CONFIRM_ABOVE,), 2400, 0)
    assert everything(world.db) == before


def test_m9_a_confirmation_is_recorded_with_who_and_what_was_passed(make_world: MakeWorld) -> None:
    world = make_world(policy=ABOVE)
    rma, order = ready(world, units=2)

    made = decide(world, rma, order, 2400, CONFIRMED)

    assert [(what, who) for what, who, _ in told(world.db, rma) if what == "limit.confirmed"] == [("limit.confirmed", "olga")]
    assert facts_of(world.db, "limit.confirmed") == {"passed": ["confirm_above"], "total": 2400}
    with world.db.reading() as session:
        found = session.get_one(Resolution, made)
        assert (found.decided_by, found.confirmed_by) == ("sam", "olga")


def test_m9_a_currency_without_a_figure_goes_to_a_person(make_world: MakeWorld) -> None:
    world = make_world(policy=DOLLARS)
    rma, order = ready(world)

    with pytest.raises(NeedsConfirmation):
        decide(world, rma, order, 1200)


def test_m9_the_limits_are_those_of_the_policy_that_judged_the_return(make_world: MakeWorld) -> None:
    world = make_world()
    rma, order = ready(world, units=2)
    with world.db.transaction() as session:
        policies.publish(session, world.shop.id, ABOVE, effective_from=TODAY, who="owner", now=START)

    decide(world, rma, order, 2400)

    assert state_of(world, rma) is RmaState.RESOLVED


# ── The daily cap ──


def test_m9_the_cap_counts_what_was_reserved_earlier_that_day(make_world: MakeWorld) -> None:
    world = make_world(policy=CAP)
    for ref in ("1", "2"):
        rma, order = ready(world, ref)
        decide(world, rma, order, 1200)
    rma, order = ready(world, "3")
    before = everything(world.db)

    with pytest.raises(NeedsConfirmation) as asked:
        decide(world, rma, order, 1200)

    assert (asked.value.passed, asked.value.given_today, given(world)) == ((Limit.DAILY_CAP,), 2400, 2400)
    assert everything(world.db) == before
    decide(world, rma, order, 1200, CONFIRMED)
    assert given(world) == 3600


def test_m9_two_at_once_cannot_both_stay_below_the_cap(make_world: MakeWorld) -> None:
    for _ in range(3):
        world = make_world(policy=CAP)
        cases = [ready(world, ref, units=2) for ref in ("1", "2", "3")]

        outcome = at_once(*[partial(decide, world, rma, order, 2400) for rma, order in cases])

        assert kinds(outcome) == {"UUID": 1, "NeedsConfirmation": 2}
        assert given(world) == 2400


def test_m9_each_shop_has_a_cap_of_its_own(make_world: MakeWorld) -> None:
    for world in (make_world(policy=CAP), make_world(policy=CAP)):
        rma, order = ready(world, units=2)

        decide(world, rma, order, 2400)

        assert given(world) == 2400


def test_m9_a_bonus_counts_too(make_world: MakeWorld) -> None:
    world = make_world(policy=BONUS)
    rma, order = ready(world, units=2)

    with pytest.raises(NeedsConfirmation) as asked:
        decide(world, rma, order, 2400, replace(PLAIN, payout=Payout.STORE_CREDIT))

    assert asked.value.amount.minor == 3600


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", {date(2026, 3, 2): 2400}),
        ("Europe/Berlin", {date(2026, 3, 2): 1200, date(2026, 3, 3): 1200}),
        ("America/Los_Angeles", {date(2026, 3, 2): 2400}),
    ],
)
def test_m9_the_day_is_that_of_the_shops_time_zone(make_world: MakeWorld, zone: str, days: dict[date, int]) -> None:
    """At half past ten and at half past eleven in the evening, by UTC."""
    world = make_world(policy=CAP)
    living_in(world, zone)
    for ref, time in (("1", "22:30"), ("2", "23:30")):
        rma, order = ready(world, ref)
        world.clock.now = datetime.fromisoformat(f"2026-03-02T{time}:00+00:00")
        decide(world, rma, order, 1200)

    assert {day: given(world, day) for day in (TODAY - timedelta(1), TODAY, TODAY + timedelta(1)) if given(world, day)} == days


# ── Given back to the day ──


def test_m9_what_came_to_nothing_may_be_given_again_the_same_day(make_world: MakeWorld) -> None:
    world = make_world(policy=CAP)
    order = placed(world, an_order(units=3, tenders=in_cash))
    rma = world.received(order, {"line-1": 2})
    decide(world, rma, order, 2400)

    world.clock.advance(timedelta(days=1))
    with world.db.transaction() as session:
        receipts.answer_unpaid(session, world.rows(rma)[0].id, who="sam", now=world.clock.now)

    assert (given(world), given(world, TODAY + timedelta(1))) == (0, 0)
    decide(world, rma, order, 2400)
    assert (given(world), given(world, TODAY + timedelta(1))) == (0, 2400)


def test_m9_while_a_part_of_the_decision_stands_its_day_keeps_the_whole(make_world: MakeWorld) -> None:
    world = make_world(policy=CAP)
    order = placed(world, an_order(units=3, tenders=two_tenders))
    rma = world.received(order, {"line-1": 2})
    decide(world, rma, order, 2400)
    by_hand = next(row for row in world.rows(rma) if row.state is MoneyState.PARKED)

    with world.db.transaction() as session:
        receipts.answer_unpaid(session, by_hand.id, who="sam", now=START)

    assert (given(world), state_of(world, rma)) == (2400, RmaState.RESOLVED)


def test_m9_a_shop_that_moved_to_another_time_zone_meanwhile_does_not_keep_its_refusal_from_being_recorded(make_world: MakeWorld) -> None:
    """Its day has another name by then, on which less was given than is to be released."""
    world = make_world(policy=CAP)
    order = placed(world, an_order(units=3, tenders=in_cash))
    first, second = world.received(order, {"line-1": 2}), world.received(order, {"line-1": 1})
    world.clock.advance(timedelta(hours=3))
    decide(world, first, order, 2400)
    living_in(world, "Pacific/Kiritimati")  # where it is two in the morning of the 3rd
    decide(world, second, order, 1200)

    with world.db.transaction() as session:
        assert receipts.answer_unpaid(session, world.rows(first)[0].id, who="sam", now=world.clock.now)

    assert state_of(world, first) is RmaState.RECEIVED
    assert (given(world), given(world, date(2026, 3, 3))) == (2400, 1200)
