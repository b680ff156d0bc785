"""What a resolution promises and holds back: M1, M3, M4, M7, F15, A22, A38."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from connector.domain import codec
from connector.domain.orders import (
    Charge,
    ChargeRef,
    LineRef,
    RefundRef,
    Tender,
    TenderRef,
    Worth,
)  # fmt: skip
from connector.domain.platform import CreditOrder, RefundOrder, ReturnedLine, TenderPart
from connector.domain.quote import DeductionKind, Quote
from connector.domain.refusals import Refusal
from connector.domain.rma import Disposition, MoneyState, RmaState
from connector.domain.standing import Booked
from connector.domain.wanted import Payout, WantedCharge
from connector.models import MoneyKind, Resolution
from connector.services import desk, orders, receipts
from connector.services.desk import Judged, NotPriceable, QuoteChanged, Settlement
from connector.services.orders import StaleRead
from connector.services.shopper import NotReturnable
from tests.services.acts import (
    PLAIN,
    decide,
    everything,
    in_cash,
    looking,
    placed,
    refunded_in_the_admin,
    state_of,
    told,
    two_tenders,
    work,
)
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

FEES = 'format = 1\n[restocking_fee]\npercent = 10\n[return_shipping_fee]\namount = { EUR = "4.90" }\n[authorise]\nautomatic = true\n'
ALL_OF_IT = "format = 1\n[restocking_fee]\npercent = 100\n[authorise]\nautomatic = true\n"
LINE = LineRef("line-1")
CREDIT = replace(PLAIN, payout=Payout.STORE_CREDIT)


def resolution_of(world: World, resolution: uuid.UUID) -> Resolution:
    with world.db.reading() as session:
        return session.get_one(Resolution, resolution)


# ── One decision ──


def test_m3_a_resolution_keeps_its_whole_arithmetic_and_books_the_lines_in_full(make_world: MakeWorld) -> None:
    world = make_world(policy=FEES)
    order = placed(world, an_order(units=3))
    rma = world.received(order, {"line-1": 2})

    seen = looking(world, rma, order)
    made = resolution_of(world, decide(world, rma, order, seen.total))

    assert [(fee.kind, fee.minor) for fee in seen.deductions] == [(DeductionKind.RESTOCKING, 240), (DeductionKind.RETURN_SHIPPING, 490)]
    assert (made.kind, made.total, made.deducted, made.bonus) == (MoneyKind.REFUND, 2400 - 730, 730, 0)
    assert codec.read(made.quote, Quote) == seen
    (line,) = codec.read(made.booked, Booked).lines
    assert (line.quantity, line.worth.gross, line.dispositions) == (2, 2400, ((Disposition.RESTOCK, 2),))


def test_the_money_row_reserves_the_amount_with_its_message_before_anyone_is_asked_to_pay(make_world: MakeWorld) -> None:
    world = make_world(policy=FEES)
    order = placed(world, an_order(units=3))
    rma = world.received(order, {"line-1": 2})

    decide(world, rma, order, 1670)

    (row,) = world.rows(rma)
    told_to = codec.read(row.instruction, RefundOrder)
    assert (row.state, row.minor, row.deducted, row.attempt, row.asked_first_at) == (MoneyState.PENDING, 1670, 730, 0, None)
    assert row.instruction == codec.write(told_to)
    assert (told_to.key, told_to.amount.minor, told_to.parts) == (row.id.hex, 1670, (TenderPart(TenderRef("card"), 1670),))
    assert [message.subject_id for message in work(world.db, "settle")] == [row.id]
    assert state_of(world, rma) is RmaState.RESOLVED


def test_m7_store_credit_is_one_row_and_the_bonus_stands_beside_it(make_world: MakeWorld) -> None:
    world = make_world(policy="format = 1\n[store_credit]\nbonus_percent = 10\n[authorise]\nautomatic = true\n")
    order = placed(world, an_order(units=3))
    rma = world.received(order, {"line-1": 1})

    made = resolution_of(world, decide(world, rma, order, 1200, CREDIT))

    (row,) = world.rows(rma)
    credit = codec.read(row.instruction, CreditOrder)
    assert (made.kind, made.total, made.bonus) == (MoneyKind.CREDIT, 1200, 120)
    assert (row.minor, credit.amount.minor, credit.bonus.minor) == (1200, 1200, 120)


def test_shipping_and_fees_go_back_where_staff_say_so(world: World) -> None:
    order = an_order(units=1)
    post, wrap = Charge(ChargeRef("post"), Worth(500)), Charge(ChargeRef("wrap"), Worth(100))
    order = placed(
        world, replace(order, total=order.total + 600, shipping=(post,), fees=(wrap,), tenders=(Tender(TenderRef("card"), 4200),))
    )
    rma = world.received(order, {"line-1": 1})
    choice = replace(PLAIN, shipping=(WantedCharge(ChargeRef("post")),), fees=(WantedCharge(ChargeRef("wrap"), 40),))

    decide(world, rma, order, 3600 + 500 + 40, choice)

    charges = codec.read(world.rows(rma)[0].instruction, RefundOrder).charges
    assert charges == (ReturnedLine(LineRef("post"), 0, Worth(500)), ReturnedLine(LineRef("wrap"), 0, Worth(40)))


def test_a_preview_promises_and_keeps_nothing(world: World) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    before = everything(world.db)

    assert looking(world, rma, order).total == 1200
    assert everything(world.db) == before


def test_without_accepted_units_there_is_nothing_to_give_back(world: World) -> None:
    order = placed(world, an_order())
    rma = world.requested(order, {"line-1": 2})
    with world.db.transaction() as session:
        desk.receive(session, rma, {LINE: 2}, who="dock", now=START)
        desk.inspect(session, rma, [Judged(LINE, Disposition.SENT_BACK, 1)], who="dock", now=START)
    before = everything(world.db)

    with pytest.raises(NotPriceable) as nothing:
        decide(world, rma, order, 0)

    assert nothing.value.refusal.refusal is Refusal.NOTHING_TO_REFUND
    assert everything(world.db) == before


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (replace(PLAIN, shipping=(WantedCharge(ChargeRef("post"), 501),)), Refusal.MORE_THAN_LINE),
        (replace(PLAIN, shipping=(WantedCharge(ChargeRef("post"), 0),)), Refusal.NOT_POSITIVE),
        (replace(PLAIN, shipping=(WantedCharge(ChargeRef("post"), -1),)), Refusal.NOT_POSITIVE),
        (replace(PLAIN, shipping=(WantedCharge(ChargeRef("courier")),)), Refusal.UNKNOWN_SHIPPING),
        (replace(PLAIN, fees=(WantedCharge(ChargeRef("post")),)), Refusal.UNKNOWN_FEE),
    ],
)
def test_a22_more_than_a_part_has_left_is_refused_and_leaves_nothing_behind(world: World, choice: Settlement, why: Refusal) -> None:
    order = placed(world, replace(an_order(), total=4100, shipping=(Charge(ChargeRef("post"), Worth(500)),), tenders=()))
    rma = world.received(order, {"line-1": 1})
    before = everything(world.db)

    with pytest.raises(NotPriceable) as refused:
        decide(world, rma, order, 1700, choice)

    assert refused.value.refusal.refusal is why
    assert everything(world.db) == before


@pytest.mark.parametrize("expected", [1, 1199, 1201, 999_999, 0, -1200])
def test_a38_staff_confirm_an_amount_and_never_set_it(world: World, expected: int) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    before = everything(world.db)

    with pytest.raises(QuoteChanged) as changed:
        decide(world, rma, order, expected)

    assert changed.value.quote.total == 1200
    assert everything(world.db) == before


# ── M4: what went in by hand goes out by hand ──


def test_m4_a_split_tender_makes_a_row_for_the_machine_and_one_that_waits_for_a_person_from_the_start(make_world: MakeWorld) -> None:
    world = make_world(policy=FEES)
    order = placed(world, an_order(units=2, tenders=two_tenders))  # 27.00 by card, 9.00 in cash
    rma = world.received(order, {"line-1": 2})

    decide(world, rma, order, 3600 - 360 - 490)

    machine, person = sorted(world.rows(rma), key=lambda row: row.state, reverse=True)
    assert (machine.state, machine.minor, machine.deducted) == (MoneyState.PENDING, 1850, 850)
    assert (person.state, person.minor, person.deducted, person.parked_because) == (MoneyState.PARKED, 900, 0, "paid_by_hand")
    assert [part.tender for part in codec.read(machine.instruction, RefundOrder).parts] == ["card"]
    assert codec.read(person.instruction, RefundOrder).lines == ()  # the machine's row books the units
    assert [message.subject_id for message in work(world.db, "settle")] == [machine.id]
    assert [facts["by_hand"] for what, _, facts in told(world.db, rma) if what == "money.reserved"] == [False, True]


def test_m4_cash_is_never_shown_as_paid_before_a_person_says_so(world: World) -> None:
    order = placed(world, an_order(units=1, tenders=in_cash))
    rma = world.received(order, {"line-1": 1})

    decide(world, rma, order, 3600)

    (row,) = world.rows(rma)
    assert (row.state, row.parked_because, row.platform_reference) == (MoneyState.PARKED, "paid_by_hand", None)
    assert work(world.db, "settle") == []
    assert "money.settled" not in [what for what, _, _ in told(world.db, rma)]

    with world.db.transaction() as session:
        receipts.answer_paid(session, row.id, RefundRef("receipt book 17"), who="kim at the till", now=START)

    assert [row.state for row in world.rows(rma)] == [MoneyState.SETTLED]
    assert [who for what, who, _ in told(world.db, rma) if what == "money.settled"] == ["kim at the till"]


def test_m4_what_waits_for_a_person_is_not_given_away_again(world: World) -> None:
    order = placed(world, an_order(units=2, tenders=in_cash))
    first, second = world.received(order, {"line-1": 1}), world.received(order, {"line-1": 1})

    decide(world, first, order, 1800)

    assert looking(world, second, order).remaining == 0


# ── Nothing to pay ──


def test_m3_a_resolution_that_pays_nothing_makes_no_money_row_and_still_counts_what_was_kept_and_its_units(make_world: MakeWorld) -> None:
    world = make_world(policy=ALL_OF_IT)
    order = placed(world, an_order(units=3))
    rma = world.received(order, {"line-1": 2})

    made = resolution_of(world, decide(world, rma, order, 0))

    assert (made.total, made.deducted, world.rows(rma), work(world.db, "settle")) == (0, 2400, [], [])
    assert state_of(world, rma) is RmaState.RESOLVED
    third = world.received(order, {"line-1": 1})
    seen = looking(world, third, order)
    assert (seen.gross, seen.remaining) == (1200, 0)
    with pytest.raises(NotReturnable, match="units_gone"):
        world.requested(order, {"line-1": 1})


# ── The order is not as it was seen ──


def test_an_order_that_was_read_more_than_thirty_seconds_ago_decides_nothing(world: World) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    before = everything(world.db)

    with pytest.raises(StaleRead):
        decide(world, rma, order, 1200, age=timedelta(seconds=30, microseconds=1))
    assert everything(world.db) == before

    world.clock.advance(timedelta(seconds=30))  # else the return was asked for on a later read than this one
    decide(world, rma, order, 1200, age=timedelta(seconds=30))


def test_f15_a_refund_in_the_admin_before_the_decision_changes_the_quote(world: World) -> None:
    order = placed(world, an_order(units=1))
    rma = world.received(order, {"line-1": 1})
    seen = looking(world, rma, order)

    world.toy.place(refunded_in_the_admin(order, 1000))
    with pytest.raises(QuoteChanged) as changed:
        decide(world, rma, world.read(order.ref), seen.total)

    assert (seen.total, changed.value.quote.total) == (3600, 2600)


def test_f15_a_refund_of_everything_in_the_admin_leaves_nothing_to_decide(world: World) -> None:
    order = placed(world, an_order(units=1))
    rma = world.received(order, {"line-1": 1})

    world.toy.place(refunded_in_the_admin(order, 3600))

    with pytest.raises(NotPriceable):
        decide(world, rma, world.read(order.ref), 3600)
    assert world.rows() == []


def test_the_snapshot_that_a_decision_rests_on_is_kept(world: World) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    world.clock.advance(timedelta(minutes=5))
    world.toy.place(refunded_in_the_admin(order, 100))

    decide(world, rma, world.read(order.ref), 1200)

    with world.db.reading() as session:
        kept = orders.snapshot(session, world.shop.id, order.ref)
    assert kept is not None
    assert kept.refunded == 100


# ── Several decisions of one order ──


def test_m1_returns_that_are_decided_before_any_is_paid_add_up_to_what_was_paid(world: World) -> None:
    order = placed(world, an_order(units=3, net=1000, tax=101))
    rmas = [world.received(order, {"line-1": 1}) for _ in range(3)]

    totals = [resolution_of(world, world.resolve(rma)).total for rma in rmas]

    assert sum(totals) == order.total == 1101
