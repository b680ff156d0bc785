"""Several at once, and the same again: F13, F14, F16, F17, F19; and what the database itself refuses."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from connector.domain.orders import Order, RefundRef
from connector.domain.rma import IllegalMove, MoneyState, RmaState
from connector.domain.wanted import Payout
from connector.secrets import Vault, new_key
from connector.services import desk, receipts
from connector.services.desk import NotPriceable, QuoteChanged, Settlement
from tests.processes import together
from tests.services.acts import (
    PLAIN,
    at_once,
    decide,
    everything,
    in_cash,
    kinds,
    opened,
    placed,
    refunded_in_the_admin,
    state_of,
)
from tests.world import START, World, an_order

CREDIT = replace(PLAIN, payout=Payout.STORE_CREDIT)


def test_f13_two_members_of_staff_at_once_make_one_decision(world: World) -> None:
    for round_ in range(3):
        order = placed(world, an_order(f"order-{round_}"))
        rma = world.received(order, {"line-1": 1})

        outcome = at_once(*[lambda rma=rma, order=order: decide(world, rma, order, 1200)] * 3)

        assert kinds(outcome) == {"UUID": 1, "IllegalMove": 2}
        assert len(world.rows(rma)) == 1


def decide_in_a_process(meet: Callable[[], object], url: str, rma: uuid.UUID, order: Order, expected: int) -> str:
    database, vault = opened(url), Vault.of([new_key()], new_key())
    settlement = Settlement(expected=expected, form_token=uuid.uuid4().hex)
    meet()
    try:
        with database.transaction() as session:
            desk.resolve(session, rma, order, settlement, read_began=START, vault=vault, who="sam", now=START)
    except (IllegalMove, QuoteChanged, NotPriceable) as refused:
        return type(refused).__name__
    finally:
        database.dispose()
    return "decided"


def test_f13_two_processes_at_once_make_one_decision(world: World, database_url: str) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})

    outcome = together(decide_in_a_process, [(database_url, rma, order, 1200)] * 3)

    assert sorted(outcome) == ["IllegalMove", "IllegalMove", "decided"]
    assert len(world.rows(rma)) == 1


def short_of_money(world: World, ref: str) -> tuple[Order, uuid.UUID, uuid.UUID]:
    """Two returns of 18.00 each, on an order that has 20.00 left since somebody gave 16.00 back in the admin."""
    order = placed(world, refunded_in_the_admin(an_order(ref, units=2), 1600))
    return order, world.received(order, {"line-1": 1}), world.received(order, {"line-1": 1})


def test_f16_two_refunds_at_once_do_not_give_more_than_the_order_has(world: World) -> None:
    for round_ in range(3):
        order, first, second = short_of_money(world, f"order-{round_}")

        acts = [lambda rma=rma, order=order: decide(world, rma, order, 1800) for rma in (first, second)]
        outcome = at_once(*acts)

        assert kinds(outcome) == {"UUID": 1, "QuoteChanged": 1}
        (changed,) = [each for each in outcome if isinstance(each, QuoteChanged)]
        assert changed.quote.total == 200


def test_f16_two_processes_at_once_do_not_give_more_than_the_order_has(world: World, database_url: str) -> None:
    order, first, second = short_of_money(world, "order")

    outcome = together(decide_in_a_process, [(database_url, rma, order, 1800) for rma in (first, second)])

    assert sorted(outcome) == ["QuoteChanged", "decided"]
    assert sum(row.minor for row in world.rows()) == 1800


def test_f17_a_refund_and_a_credit_of_one_return_at_once_are_one_of_them(world: World) -> None:
    for round_ in range(3):
        order = placed(world, an_order(f"order-{round_}"))
        rma = world.received(order, {"line-1": 1})

        outcome = at_once(
            *[lambda choice=choice, rma=rma, order=order: decide(world, rma, order, 1200, choice) for choice in (PLAIN, CREDIT)]
        )

        assert kinds(outcome) == {"UUID": 1, "IllegalMove": 1}
        assert len(world.rows(rma)) == 1


def test_f17_a_refund_and_a_credit_of_two_returns_at_once_share_what_the_order_has(world: World) -> None:
    order, first, second = short_of_money(world, "order")

    outcome = at_once(
        lambda: decide(world, first, order, 1800, PLAIN),
        lambda: decide(world, second, order, 1800, CREDIT),
    )

    assert kinds(outcome) == {"UUID": 1, "QuoteChanged": 1}
    assert sum(row.minor for row in world.rows()) == 1800


# ── F19, F14: one form, one decision ──


def test_f19_a_form_that_decided_one_return_cannot_decide_another(world: World) -> None:
    order = placed(world, an_order())
    first, second = world.received(order, {"line-1": 1}), world.received(order, {"line-1": 1})
    decide(world, first, order, 1200, token="form")
    before = everything(world.db)

    with pytest.raises(desk.FormUsed):
        decide(world, second, order, 1200, token="form")

    assert everything(world.db) == before


def test_f14_a_form_whose_decision_came_to_nothing_does_not_pay_when_it_is_sent_again(world: World) -> None:
    order = placed(world, an_order(tenders=in_cash))
    rma = world.received(order, {"line-1": 1})
    decide(world, rma, order, 1200, token="form")
    with world.db.transaction() as session:
        receipts.answer_unpaid(session, world.rows(rma)[0].id, who="sam", now=START)
    assert state_of(world, rma) is RmaState.RECEIVED

    with pytest.raises(desk.FormUsed):
        decide(world, rma, order, 1200, token="form")
    decide(world, rma, order, 1200, token="another form")

    assert [row.state for row in world.rows(rma)] == [MoneyState.REFUSED, MoneyState.PARKED]


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("receipts", "UPDATE receipts SET minor = 1"),
        ("receipts", "DELETE FROM receipts"),
        ("timeline", "UPDATE timeline SET who = 'nobody'"),
        ("timeline", "DELETE FROM timeline"),
    ],
)
def test_r3_the_database_itself_refuses_to_change_evidence(world: World, table: str, change: str) -> None:
    order = placed(world, an_order(tenders=in_cash))
    rma = world.received(order, {"line-1": 1})
    decide(world, rma, order, 1200)
    with world.db.transaction() as session:
        receipts.answer_paid(session, world.rows(rma)[0].id, RefundRef("till 1"), who="sam", now=START)
    before = everything(world.db)

    with pytest.raises(IntegrityError, match="append-only"), world.db.transaction() as session:
        session.execute(text(change))

    assert everything(world.db) == before
    assert before[table]


@pytest.mark.parametrize(
    "change", ["minor = 0", "minor = -5", "state = 'settled'", "state = 'sent'", "deducted = -1", "parked_because = 'x'"]
)
def test_the_database_itself_refuses_nonsense_in_a_money_row(world: World, change: str) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    decide(world, rma, order, 1200)

    with pytest.raises(IntegrityError), world.db.transaction() as session:
        session.execute(text(f"UPDATE refunds SET {change}"))  # noqa: S608 - of this test

    assert [(row.state, row.minor) for row in world.rows(rma)] == [(MoneyState.PENDING, 1200)]
